// core/runtime/data_source.hpp - one opened split of a data plugin, feeding micro-batches to programs.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "core/graph/builder.hpp"
#include "core/runtime/program.hpp"
#include "core/runtime/setup.hpp"
#include "core/text/tokenizer.hpp"
#include "core/text/tokenizer_handle.hpp"

namespace nemo::runtime {

// The run's tokenizer, made by the recipe's [tokenizer]; a vocabulary that is learned asks the data plugin for its text. Null for type
// "none".
[[nodiscard]] std::unique_ptr<text::Tokenizer> make_tokenizer(const Setup& setup);

// Fields beyond tokens and labels that batches of this recipe have.
[[nodiscard]] std::set<std::string> batch_fields(const Setup& setup);

// Ids behind the tokenizer's vocabulary that batches of this recipe have.
[[nodiscard]] int64_t added_tokens(const Setup& setup);
// Columns of field "encoder_tokens"; 0: as seq_length.
[[nodiscard]] int64_t encoder_seq_length(const Setup& setup);

struct SourceOptions {
  std::string split;
  graph::BuildFacts facts;
  int64_t global_batch_size = 1;
  int64_t max_samples = 0;  // 0 = one epoch
  int64_t seed = 0;
  int64_t shard = 0, shards = 1;  // of the ranks that read different samples
};

// One micro-batch on the host: row-major, in the shapes of nemo/data.h.
struct Batch {
  std::map<std::string, std::vector<int32_t>> fields;
  int64_t unmasked_tokens = 0;
};

class DataSource {
 public:
  // nullptr where the recipe has no such split. `tokenizer` may be null.
  static std::unique_ptr<DataSource> open(const Setup& setup, const nemo_host_api& host, const text::Tokenizer* tokenizer,
                                          const SourceOptions& options);
  ~DataSource();
  DataSource(const DataSource&) = delete;
  DataSource& operator=(const DataSource&) = delete;

  void seek(int64_t consumed_samples);
  [[nodiscard]] int64_t num_samples() const;
  // Reads the next micro-batch; the reference is valid until the next call.
  const Batch& next();

 private:
  DataSource(const nemo_data_api& api, std::unique_ptr<text::TokenizerHandle> handle) : api_(api), handle_(std::move(handle)) {}
  void make_fields(const Setup& setup, const graph::BuildFacts& facts);
  const nemo_data_api& api_;
  std::unique_ptr<text::TokenizerHandle> handle_;
  nemo_data* data_ = nullptr;
  Batch batch_;
  std::vector<nemo_batch_field> fields_;
  struct Layout {
    std::array<int64_t, 2> shape{}, strides{};
  };
  Layout tokens_, encoder_tokens_, numbers_;
};

// Where a batch goes: inputs by name (0: there is none), and their device addresses.
struct FeedTarget {
  const passes::Compiled& program;
  std::function<graph::ValueId(std::string_view name)> input;
  std::function<std::byte*(graph::ValueId)> address;
  int64_t vocabulary;  // ids must be below
};
void feed_fields(Device& device, const FeedTarget& target, const Batch& batch, int64_t seed, int64_t first_sample, double loss_scale);

// Enqueues the copies of a batch into a program's inputs; positions default to 0..seq-1. Also feeds "loss_scale" = 1 and "rng" = (seed,
// counter) where the program has them.
void feed(Device& device, Program& program, const Batch& batch, int64_t seed, int64_t first_sample, double loss_scale = 1);

}  // namespace nemo::runtime

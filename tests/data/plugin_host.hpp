// tests/data/plugin_host.hpp - opens a datamodule's library through its C entry and drives it as the host does.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "core/text/tokenizer_handle.hpp"
#include "nemo/nemo.h"

// Settings by dotted path; the host's opaque type.
struct nemo_config {
  nlohmann::json values;
};
struct nemo_error {
  nemo_code code;
  std::string message;
  nlohmann::json facts;
};

namespace nemo::testing {

struct PluginError {
  nemo_code code;
  std::string message;
  nlohmann::json facts;
};

inline void check(nemo_error* error) {
  if (error == nullptr) return;
  const std::unique_ptr<nemo_error> owned(error);
  throw PluginError{error->code, error->message, error->facts};
}

const nemo_host_api& host_api();

using Batch = std::map<std::string, std::vector<int32_t>>;

// One opened source; closes it.
class Source {
 public:
  Source(const nemo_data_api& api, nemo_data* data, int64_t micro, int64_t seq, int64_t encoder_seq)
      : api_(api), data_(data), micro_(micro), seq_(seq), encoder_seq_(encoder_seq) {}
  Source(Source&& o) noexcept
      : api_(o.api_), data_(std::exchange(o.data_, nullptr)), micro_(o.micro_), seq_(o.seq_), encoder_seq_(o.encoder_seq_) {}
  ~Source() { api_.close(data_); }
  [[nodiscard]] bool present() const { return data_ != nullptr; }
  [[nodiscard]] int64_t num_samples() const {
    int64_t n = 0;
    check(api_.num_samples(data_, &n));
    return n;
  }
  void seek(int64_t consumed) { check(api_.seek(data_, consumed)); }
  Batch next(const std::vector<std::string>& names = {"tokens", "labels"}) {
    Batch batch;
    std::vector<nemo_batch_field> fields(names.size());
    std::vector<std::array<int64_t, 2>> shapes(names.size()), all_strides(names.size());
    for (size_t i = 0; i < names.size(); ++i) {
      const bool number = names[i].ends_with("lengths") || names[i] == "next_sentence_labels";
      const int64_t columns = number ? 1 : names[i] == "encoder_tokens" ? encoder_seq_ : seq_;
      int64_t *shape = shapes[i].data(), *strides = all_strides[i].data();
      shapes[i] = {micro_, columns}, all_strides[i] = {columns, 1};
      std::vector<int32_t>& values = batch[names[i]];
      values.assign(static_cast<size_t>(micro_ * columns), -7);
      fields[i].name = {names[i].data(), names[i].size()};
      fields[i].tensor = {
          sizeof(nemo_tensor), 0, NEMO_DTYPE_I32, 0, {values.data(), {1, 0}, number ? 1 : 2, {0, 32, 1}, shape, strides, 0}};
    }
    check(api_.next(data_, fields.data(), fields.size(), sizeof(nemo_batch_field)));
    return batch;
  }

 private:
  const nemo_data_api& api_;
  nemo_data* data_;
  int64_t micro_, seq_, encoder_seq_;
};

struct Open {
  std::string split = "train";
  int64_t seq_length = 8, seed = 1, shard = 0, n_shards = 1, micro = 1, global = 1, max_samples = 0;
  const text::Tokenizer* tokenizer = nullptr;
};

// The datamodule `name` of library nemo_data_NAME.so with settings; unset ones have the schema's defaults.
class DataPlugin {
 public:
  DataPlugin(const std::string& name, nlohmann::json settings);
  Source open(const Open& open);
  [[nodiscard]] bool has_field(const std::string& field) const;
  [[nodiscard]] std::string corpus() const;
  [[nodiscard]] const nemo_data_api& api() const { return *api_; }
  [[nodiscard]] const nemo_config* config() const { return &config_; }

 private:
  const nemo_data_api* api_ = nullptr;
  nemo_config config_;
  std::vector<std::unique_ptr<text::TokenizerHandle>> tokenizers_;
};

// Rows of `field` in the order of the stream: `batches` global batches, each shard's part after the other's.
std::vector<int32_t> read_stream(DataPlugin& plugin, Open open, int64_t batches, const std::string& field = "tokens");

// What the call throws; fails the test if it throws nothing.
template <class Body>
PluginError error_of(Body&& body) {
  try {
    body();
  } catch (const PluginError& e) {
    return e;
  }
  ADD_FAILURE() << "no error was returned";
  return {};
}

}  // namespace nemo::testing

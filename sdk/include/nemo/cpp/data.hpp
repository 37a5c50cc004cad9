// nemo/cpp/data.hpp - a datamodule as one question: what is sample i? Sharding, micro-batches, seeking and the C table follow from the
// answer.
//
//   class Squares final : public SampleSource { ... int64_t num_samples() const; void read(int64_t index, const SampleRow&) const; };
//   std::unique_ptr<SampleSource> open(const Config&, const DataRequest&);
//   static const nemo_data_api api = data_api<open, nullptr, nullptr>();
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "nemo/cpp/config.hpp"

namespace nemo::sdk {
inline namespace v1 {

inline constexpr int32_t kIgnoredLabel = -100;

// Pseudo-random word of a counter: the SplitMix64 finaliser (Steele et al., OOPSLA 2014) over key and counter. Stateless, so any position
// is O(1).
inline uint64_t mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
inline uint64_t counter_random(uint64_t key, uint64_t counter) { return mix64(mix64(key) ^ mix64(counter + 0x632be59bd9b4e019u)); }
// Maps a random word onto [0, n), n > 0 (bias below n / 2^64).
inline uint64_t bounded(uint64_t word, uint64_t n) {
  __extension__ typedef unsigned __int128 Wide;
  return static_cast<uint64_t>((static_cast<Wide>(word) * n) >> 64);
}

// The host's tokenizer, or none.
class TokenizerView {
 public:
  TokenizerView() = default;
  TokenizerView(const nemo_tokenizer_api* api, const nemo_tokenizer* tokenizer) : api_(api), tokenizer_(tokenizer) {}
  explicit operator bool() const { return tokenizer_ != nullptr; }
  int64_t vocab_size() const { return api_->vocab_size(tokenizer_); }
  int64_t eos() const { return tokenizer_ == nullptr ? -1 : api_->eos(tokenizer_); }
  // Calls take(const int32_t* ids, size_t n) with successive pieces of the encoded text. `take` may throw.
  template <class Take>
  void encode(std::string_view text, Take&& take) const {
    using Plain = std::remove_reference_t<Take>;
    nemo_sink sink{const_cast<void*>(static_cast<const void*>(&take)), [](void* ctx, const void* bytes, uint64_t len) {
                     return guard([&] { (*static_cast<Plain*>(ctx))(static_cast<const int32_t*>(bytes), len / sizeof(int32_t)); });
                   }};
    check(api_->encode(tokenizer_, to_str(text), sink));
  }

 private:
  const nemo_tokenizer_api* api_ = nullptr;
  const nemo_tokenizer* tokenizer_ = nullptr;
};

// What the host asks of a source, less the sharding.
struct DataRequest {
  std::string split;  // "train", "validation", "test"
  int64_t seq_length = 0;
  int64_t seed = 0;
  int64_t max_samples = 0;  // samples that the run will take in all; 0 = one epoch
  TokenizerView tokenizer;
};

// Where one sample goes: [seq_length] each where nothing else is said, NULL where the host did not ask for the field.
struct SampleRow {
  int32_t* tokens = nullptr;
  int32_t* labels = nullptr;  // kIgnoredLabel where no loss is wanted
  int32_t* positions = nullptr;
  int32_t* segments = nullptr;
  int32_t* token_types = nullptr;
  int32_t* encoder_tokens = nullptr;  // [encoder_seq_length]
  int32_t* lengths = nullptr;         // one number, like those below
  int32_t* encoder_lengths = nullptr;
  int32_t* next_sentence_labels = nullptr;
};

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  // Samples in one epoch; -1 if endless.
  virtual int64_t num_samples() const = 0;
  // Writes sample `index` >= 0 of the endless stream into every non-NULL field of the row. The same index always gives the same sample.
  virtual void read(int64_t index, const SampleRow& row) const = 0;
};

// One shard of a stream. Global batch i covers global_batch_size samples from the position given to seek; within it shard r takes the r-th
// of n_shards equal contiguous parts, micro-batch by micro-batch. The union over shards is therefore the same stream for every n_shards.
class ShardedReader {
 public:
  ShardedReader(std::unique_ptr<SampleSource> source, const nemo_data_open& open, int64_t encoder_seq_length)
      : source_(std::move(source)),
        seq_(open.seq_length),
        encoder_seq_(encoder_seq_length),
        micro_(open.micro_batch_size),
        global_(open.global_batch_size),
        part_(global_ / open.n_shards),
        shard_(open.shard) {}

  void seek(int64_t consumed) {
    if (consumed < 0) throw Error(NEMO_CODE_INVALID_ARGUMENT, "seek: consumed_samples is " + std::to_string(consumed));
    batch_start_ = consumed;
    within_ = 0;
  }
  int64_t num_samples() const { return source_->num_samples(); }

  void next(const nemo_batch_field* fields, uint64_t n, uint64_t stride) {
    SampleRow row;
    for (uint64_t i = 0; i < n; ++i)
      bind(*reinterpret_cast<const nemo_batch_field*>(reinterpret_cast<const char*>(fields) + i * stride), row);
    for (int64_t b = 0; b < micro_; ++b) {
      source_->read(batch_start_ + shard_ * part_ + within_ + b, row);
      for (const Field& field : kFields)
        if (int32_t*& at = row.*field.slot; at != nullptr) at += width(field);
    }
    within_ += micro_;
    if (within_ < part_) return;
    within_ = 0;
    batch_start_ += global_;
  }

 private:
  enum class Shape { kTokens, kEncoder, kNumber };
  struct Field {
    std::string_view name;
    int32_t* SampleRow::*slot;
    Shape shape;
  };
  static constexpr Field kFields[] = {{"tokens", &SampleRow::tokens, Shape::kTokens},
                                      {"labels", &SampleRow::labels, Shape::kTokens},
                                      {"positions", &SampleRow::positions, Shape::kTokens},
                                      {"segments", &SampleRow::segments, Shape::kTokens},
                                      {"token_types", &SampleRow::token_types, Shape::kTokens},
                                      {"encoder_tokens", &SampleRow::encoder_tokens, Shape::kEncoder},
                                      {"lengths", &SampleRow::lengths, Shape::kNumber},
                                      {"encoder_lengths", &SampleRow::encoder_lengths, Shape::kNumber},
                                      {"next_sentence_labels", &SampleRow::next_sentence_labels, Shape::kNumber}};
  int64_t width(const Field& field) const {
    return field.shape == Shape::kTokens ? seq_ : field.shape == Shape::kEncoder ? encoder_seq_ : 1;
  }

  void bind(const nemo_batch_field& given, SampleRow& row) const {
    const std::string_view name = to_view(given.name);
    const Field* field = nullptr;
    for (const Field& known : kFields)
      if (known.name == name) field = &known;
    if (field == nullptr) throw Error(NEMO_CODE_INVALID_ARGUMENT, "next: unknown batch field '" + std::string(name) + "'");
    const DLTensor& t = given.tensor.t;
    const bool matrix = field->shape != Shape::kNumber;
    const int64_t columns = width(*field);
    const bool fits = given.tensor.dtype == NEMO_DTYPE_I32 && t.ndim == (matrix ? 2 : 1) && t.shape[0] == micro_ &&
                      (!matrix || t.shape[1] == columns) &&
                      (t.strides == nullptr || (t.strides[t.ndim - 1] == 1 && (!matrix || micro_ == 1 || t.strides[0] == columns)));
    if (!fits)
      throw Error(NEMO_CODE_INVALID_ARGUMENT, "next: field '" + std::string(name) + "' must be a row-major i32 tensor [" +
                                                  std::to_string(micro_) + (matrix ? ", " + std::to_string(columns) : "") +
                                                  "] in host memory");
    row.*field->slot = reinterpret_cast<int32_t*>(static_cast<char*>(t.data) + t.byte_offset);
  }

  std::unique_ptr<SampleSource> source_;
  int64_t seq_, encoder_seq_, micro_, global_, part_, shard_;
  int64_t batch_start_ = 0;  // first sample of the current global batch
  int64_t within_ = 0;       // samples of this shard's part already given
};

inline void check_open(const nemo_data_open& open) {
  const auto bad = [](const std::string& what) { throw Error(NEMO_CODE_INVALID_ARGUMENT, "data open: " + what); };
  if (open.struct_size < sizeof(nemo_data_open)) bad("the struct is shorter than version 1");
  for (const char *p = reinterpret_cast<const char*>(&open + 1), *end = reinterpret_cast<const char*>(&open) + open.struct_size; p < end;
       ++p)
    if (*p != 0)
      throw Error(NEMO_CODE_UNSUPPORTED_FIELD, "data open: the host set a field that this plugin does not know; rebuild the plugin");
  if (open.seq_length < 1) bad("seq_length is " + std::to_string(open.seq_length));
  if (open.n_shards < 1 || open.shard < 0 || open.shard >= open.n_shards)
    bad("shard " + std::to_string(open.shard) + " of " + std::to_string(open.n_shards));
  if (open.micro_batch_size < 1 || open.global_batch_size < 1 || open.global_batch_size % (open.micro_batch_size * open.n_shards) != 0)
    bad("global_batch_size " + std::to_string(open.global_batch_size) + " is no multiple of micro_batch_size " +
        std::to_string(open.micro_batch_size) + " x " + std::to_string(open.n_shards) + " shards");
  if (open.max_samples < 0) bad("max_samples is " + std::to_string(open.max_samples));
}

// Columns of "encoder_tokens".
inline int64_t encoder_seq_length(const Config& config, int64_t seq_length) {
  const int64_t own = config.has("encoder_seq_length") ? config.integer("encoder_seq_length") : 0;
  return own == 0 ? seq_length : own;
}

// The table of a datamodule made of free functions:
//   Open:     std::unique_ptr<SampleSource>(const Config&, const DataRequest&); NULL where the settings do not have the split
//   HasField: bool(const Config&, std::string_view), or nullptr
//   Corpus:   void(const Config&, const nemo_sink&), or nullptr
//   Added:    int64_t(const Config&), special tokens behind the tokenizer's vocabulary, or nullptr
template <auto Open, auto HasField, auto Corpus, auto Added = nullptr>
constexpr nemo_data_api data_api() {
  nemo_data_api api{};
  api.struct_size = sizeof api;
  api.open = [](nemo_host*, const nemo_config* config, const nemo_data_open* open, nemo_data** out) {
    return guard([&] {
      *out = nullptr;
      check_open(*open);
      const DataRequest request{
          to_string(open->split), open->seq_length, open->seed, open->max_samples, {open->tokenizer_api, open->tokenizer}};
      std::unique_ptr<SampleSource> source = Open(Config(config), request);
      const int64_t encoder = encoder_seq_length(Config(config), open->seq_length);
      if (source != nullptr) *out = reinterpret_cast<nemo_data*>(new ShardedReader(std::move(source), *open, encoder));
    });
  };
  api.close = [](nemo_data* data) { delete reinterpret_cast<ShardedReader*>(data); };
  api.next = [](nemo_data* data, const nemo_batch_field* fields, uint64_t n, uint64_t stride) {
    return guard([&] { reinterpret_cast<ShardedReader*>(data)->next(fields, n, stride); });
  };
  api.seek = [](nemo_data* data, int64_t consumed) { return guard([&] { reinterpret_cast<ShardedReader*>(data)->seek(consumed); }); };
  api.num_samples = [](nemo_data* data, int64_t* out) {
    return guard([&] { *out = reinterpret_cast<ShardedReader*>(data)->num_samples(); });
  };
  if constexpr (!std::is_null_pointer_v<decltype(HasField)>)
    api.has_field = [](nemo_host*, const nemo_config* config, nemo_str name) -> uint8_t {
      bool has = false;
      nemo_error* error = guard([&] { has = HasField(Config(config), to_view(name)); });
      if (error != nullptr) host().api->error_free(error);
      return has ? 1 : 0;
    };
  if constexpr (!std::is_null_pointer_v<decltype(Corpus)>)
    api.corpus = [](nemo_host*, const nemo_config* config, nemo_sink text) { return guard([&] { Corpus(Config(config), text); }); };
  if constexpr (!std::is_null_pointer_v<decltype(Added)>)
    api.added_tokens = [](nemo_host*, const nemo_config* config) {
      int64_t added = 0;
      if (nemo_error* error = guard([&] { added = Added(Config(config)); }); error != nullptr) host().api->error_free(error);
      return added;
    };
  return api;
}

}  // namespace v1
}  // namespace nemo::sdk

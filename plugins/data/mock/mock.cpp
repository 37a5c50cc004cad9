// plugins/data/mock/mock.cpp - made-up token sequences, for tests and speed runs. Every sample is a function of (seed, split, index) alone.
#include <algorithm>

#include "nemo/cpp/data.hpp"
#include "nemo/cpp/plugin.hpp"

namespace nemo::mock {
namespace {

using namespace nemo::sdk;

const Schema& schema() {
  static const Schema instance({
      integer("vocab_size", "0", "ids are drawn from 0 to this, exclusive; 0: the tokenizer's vocabulary")
          .min(0)
          .max(2147483647)
          .unit("tokens"),
      integer("num_samples", "0", "samples in one epoch, after which the same samples come again; 0: endless").min(0).unit("samples"),
      choice("pattern", "\"random\"",
             {{"random", "uniform and independent: no model can do better than ln(vocab_size)"},
              {"arithmetic", "counts up by 1, 2 or 3 modulo vocab_size from a random start: easy to learn"}},
             "how the tokens of a sample follow one another"),
      boolean("encoder_fields", "false",
              "batches also have what encoders read: encoder tokens, lengths, token types, next-sentence labels"),
      integer("encoder_seq_length", "0", "columns of encoder_tokens; 0 = seq_length").min(0).unit("tokens"),
  });
  return instance;
}

uint64_t stream_key(int64_t seed, std::string_view split) {
  uint64_t key = mix64(static_cast<uint64_t>(seed));
  for (const char c : split) key = mix64(key ^ static_cast<uint8_t>(c));
  return key;
}

// token(j) of a sample for j = 0 .. seq_length; labels are the tokens shifted by one.
class RandomTokens {
 public:
  RandomTokens(uint64_t key, uint64_t vocab) : key_(key), vocab_(vocab) {}
  int32_t operator()(int64_t j) const { return static_cast<int32_t>(bounded(counter_random(key_, static_cast<uint64_t>(j)), vocab_)); }

 private:
  uint64_t key_, vocab_;
};

class ArithmeticTokens {
 public:
  ArithmeticTokens(uint64_t key, uint64_t vocab)
      : start_(bounded(counter_random(key, 0), vocab)), stride_(1 + bounded(counter_random(key, 1), 3)), vocab_(vocab) {}
  int32_t operator()(int64_t j) const { return static_cast<int32_t>((start_ + static_cast<uint64_t>(j) * stride_) % vocab_); }

 private:
  uint64_t start_, stride_, vocab_;
};

enum class Pattern { kRandom, kArithmetic };

class MockSource final : public SampleSource {
 public:
  MockSource(uint64_t key, uint64_t vocab, int64_t samples, int64_t seq_length, int64_t encoder_seq_length, Pattern pattern)
      : key_(key), vocab_(vocab), samples_(samples), seq_(seq_length), encoder_seq_(encoder_seq_length), pattern_(pattern) {}

  int64_t num_samples() const override { return samples_ > 0 ? samples_ : -1; }

  void read(int64_t index, const SampleRow& row) const override {
    const uint64_t sample_key = counter_random(key_, static_cast<uint64_t>(samples_ > 0 ? index % samples_ : index));
    if (pattern_ == Pattern::kRandom)
      fill(RandomTokens(sample_key, vocab_), row);
    else
      fill(ArithmeticTokens(sample_key, vocab_), row);
  }

 private:
  template <class Tokens>
  void fill(const Tokens& token, const SampleRow& row) const {
    for (int64_t j = 0; j < seq_; ++j) {
      if (row.tokens != nullptr) row.tokens[j] = token(j);
      if (row.labels != nullptr) row.labels[j] = token(j + 1);
      if (row.positions != nullptr) row.positions[j] = static_cast<int32_t>(j);
      if (row.segments != nullptr) row.segments[j] = 0;
      if (row.token_types != nullptr) row.token_types[j] = 2 * j < seq_ ? 0 : 1;
    }
    for (int64_t j = 0; row.encoder_tokens != nullptr && j < encoder_seq_; ++j) row.encoder_tokens[j] = token(seq_ + 1 + j);
    if (row.lengths != nullptr) *row.lengths = static_cast<int32_t>(seq_);
    if (row.encoder_lengths != nullptr) *row.encoder_lengths = static_cast<int32_t>(encoder_seq_);
    if (row.next_sentence_labels != nullptr) *row.next_sentence_labels = token(0) % 2;
  }

  uint64_t key_, vocab_;
  int64_t samples_, seq_, encoder_seq_;
  Pattern pattern_;
};

std::unique_ptr<SampleSource> open(const Config& config, const DataRequest& request) {
  int64_t vocab = config.integer("vocab_size");
  if (vocab == 0) {
    if (!request.tokenizer) config_fault("vocab_size", "mock data needs vocab_size where the recipe has no tokenizer");
    vocab = request.tokenizer.vocab_size();
  }
  const Pattern pattern = config.string("pattern") == "arithmetic" ? Pattern::kArithmetic : Pattern::kRandom;
  return std::make_unique<MockSource>(stream_key(request.seed, request.split), static_cast<uint64_t>(vocab), config.integer("num_samples"),
                                      request.seq_length, encoder_seq_length(config, request.seq_length), pattern);
}

bool has_field(const Config& config, std::string_view name) {
  constexpr std::string_view kEncoder[] = {"token_types", "lengths", "encoder_tokens", "encoder_lengths", "next_sentence_labels"};
  return config.boolean("encoder_fields") && std::find(std::begin(kEncoder), std::end(kEncoder), name) != std::end(kEncoder);
}

constexpr nemo_data_api kApi = data_api<open, has_field, nullptr>();

}  // namespace
}  // namespace nemo::mock

NEMO_PLUGIN("data:mock\0", nemo::sdk::component(NEMO_KIND_DATA, "mock", "1.0.0", "made-up token sequences for tests and speed runs",
                                                &nemo::mock::kApi, nemo::mock::schema().get()))

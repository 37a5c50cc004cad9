// core/runtime/score.hpp - how probable a checkpoint finds given tokens: perplexity of texts, choice among continuations.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/runtime/data_source.hpp"
#include "core/runtime/engine.hpp"
#include "core/runtime/train_loop.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::runtime {

// A checkpoint's model with its tokenizer. Not thread-safe.
class Scorer {
 public:
  // Throws Error(kConfig) for a checkpoint without a tokenizer, Error(kUnsupported) for a model that reads in both directions.
  Scorer(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint);
  ~Scorer();

  [[nodiscard]] const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  [[nodiscard]] int64_t window() const { return engine_->facts().seq_length; }

  // -log p(tokens[first ...] | tokens before), in nats. 1 <= first <= tokens.size() <= window() + 1. Where positions depend on the
  // length of a sequence, that is tokens.size(): as transformers has it, which reads the last token too.
  [[nodiscard]] double negative_log_likelihood(std::span<const int32_t> tokens, size_t first);

  // Of an encoder-decoder: -log p(answer | source), in nats. `answer` has 1 to window() tokens, `source` at most source_window().
  [[nodiscard]] bool answers() const { return answers_; }
  [[nodiscard]] int64_t source_window() const;
  [[nodiscard]] double negative_log_likelihood_of_answer(std::span<const int32_t> source, std::span<const int32_t> answer);
  // The token that answers begin with; default: what the recipe's data begins them with.
  void start_answers_with(int32_t token) { start_ = token; }

 private:
  double run(Batch batch, int64_t tokens);
  std::unique_ptr<text::Tokenizer> tokenizer_;
  bool answers_ = false;
  int32_t start_ = -1;
  std::unique_ptr<Engine> engine_;
};

struct Perplexity {
  double nats = 0;  // summed over the scored tokens
  int64_t tokens = 0, bytes = 0;
  [[nodiscard]] double per_token() const;  // exp of the mean
  [[nodiscard]] double bits_per_byte() const;
};

// Every token but the first is scored once, in windows that move on by `stride` (1 to window()): with at least window() - stride tokens
// before it where the text has them. Throws Error(kUnsupported) for an encoder-decoder. Text that starts with the tokenizer's begin token
// is scored with it. `go_on` may end it early.
[[nodiscard]] Perplexity perplexity(Scorer& scorer, std::string_view text, int64_t stride, const std::function<bool()>& go_on);

// The tokens that a text starts with when it is scored: the begin token where the tokenizer's files put one, else nothing.
[[nodiscard]] std::vector<int32_t> opening(const text::Tokenizer& tokenizer);

// log p(continuation | context) in nats; of an encoder-decoder, the answer's to the context. The context loses tokens at its front where
// both do not fit the window. Throws Error(kConfig) for a continuation that does not fit.
[[nodiscard]] double log_likelihood(Scorer& scorer, const std::string& context, const std::string& continuation);

}  // namespace nemo::runtime

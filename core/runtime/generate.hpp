// core/runtime/generate.hpp - continues prompts with the parameters of a checkpoint.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/runtime/sampling.hpp"
#include "core/runtime/sequence_model.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::runtime {

struct GenerateSettings {
  int64_t max_tokens = 100;
  SamplingSettings sampling;
  std::vector<std::string> stop{};  // text that ends a continuation; it is not part of it
};

// How a continuation ended.
enum class Ending { kMaxTokens, kEndOfText, kStop, kInterrupted };

struct Continuation {
  std::string text;
  std::vector<int32_t> tokens;  // without the prompt
  Ending ending = Ending::kMaxTokens;
};

// A checkpoint opened for generation. Construction plans, allocates and loads. One thread at a time.
class TextGenerator {
 public:
  // Generates for up to `batch` prompts at once. Throws nemo::Error(kConfig) where the checkpoint has no tokenizer.
  TextGenerator(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint, int64_t batch);

  // Receives each further piece of text of prompt `index` as soon as it is certain: whole characters, never part of a stop text.
  using Emit = std::function<void(size_t index, const std::string& piece)>;
  // The model sees at most data.seq_length tokens: older ones are dropped. An encoder-decoder reads the prompts and answers with at most
  // that many. Draw number i of prompt n depends on (seed, n, i) alone, not on the batch.
  std::vector<Continuation> generate(const std::vector<std::vector<int32_t>>& prompts, const GenerateSettings& settings, const Emit& emit);

  // Tokens of a prompt; the begin-of-text token alone for an empty one. Throws nemo::Error(kConfig) where there is none. For an
  // encoder-decoder what its encoder reads; throws where that is too long.
  [[nodiscard]] std::vector<int32_t> encode(const std::string& prompt) const;
  [[nodiscard]] const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  [[nodiscard]] SequenceModel& model() { return *model_; }
  [[nodiscard]] bool answers() const { return model_->has_encoder(); }
  // The token that an encoder-decoder's answers begin with. Default: what the recipe's data begins them with.
  void start_answers_with(int32_t token) { start_ = token; }

 private:
  const RunContext& context_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<SequenceModel> model_;
  int32_t start_ = -1;
};

}  // namespace nemo::runtime

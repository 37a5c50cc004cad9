// core/runtime/generate.hpp - continues a prompt with the parameters of a checkpoint.
#pragma once

#include <functional>
#include <string>

#include "core/runtime/sampling.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::runtime {

struct GenerateSettings {
  int64_t max_tokens = 100;
  SamplingSettings sampling;
};

// Computes logits of whole sequences with the model of an engine, one at a time; positions behind the given tokens are padding that causal
// attention never sees.
class LogitsModel {
 public:
  LogitsModel(Engine& engine) : engine_(engine) {}
  // Logits [vocab] that follow the last of `tokens` (1 to seq_length of them).
  [[nodiscard]] std::vector<float> next_logits(std::span<const int32_t> tokens);
  [[nodiscard]] int64_t context() const { return engine_.facts().seq_length; }

 private:
  Engine& engine_;
};

// Calls `emit` with each further piece of text. The model sees at most data.seq_length tokens: older ones are dropped. Stops at max_tokens
// or the tokenizer's eos. Every token costs a forward pass over the whole context.
void generate(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint, const std::string& prompt,
              const GenerateSettings& settings, const std::function<void(const std::string&)>& emit);

}  // namespace nemo::runtime

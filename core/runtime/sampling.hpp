// core/runtime/sampling.hpp - choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nemo::runtime {

struct SamplingSettings {
  double temperature = 1.0;  // 0 = greedy
  int64_t top_k = 0;         // 0 = all
  double top_p = 1.0;        // keep the smallest set of most likely tokens whose probability reaches top_p (Holtzman et al. 2020)
  int64_t seed = 0;
};

// Probabilities after temperature, then top-k, then top-p, as the logits processors of Hugging Face transformers; removed tokens have 0.
// temperature > 0.
[[nodiscard]] std::vector<double> token_probabilities(std::span<const float> logits, const SamplingSettings& settings);

// The token for draw number `position` (Philox keyed by the seed): the same settings and position give the same token. Greedy: the first
// largest logit.
[[nodiscard]] int32_t sample(std::span<const float> logits, const SamplingSettings& settings, int64_t position);

}  // namespace nemo::runtime

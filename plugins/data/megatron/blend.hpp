// plugins/data/megatron/blend.hpp - which sample of which dataset comes next (Megatron-Core's BlendedDataset).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nemo::megatron {

struct Blend {
  std::vector<int16_t> dataset;
  std::vector<uint32_t> sample;  // within that dataset
};

// At each step the dataset that lags furthest behind its weight gives the next sample; the first of equals. Weights sum to 1. O(size x
// datasets).
[[nodiscard]] Blend blend_by_weight(std::span<const double> weights, int64_t size);

// The same by size, until every dataset is used up exactly once.
[[nodiscard]] Blend blend_exhaustively(std::span<const int64_t> sizes);

// Samples to build of each dataset so that a blend of `size` never runs out of one: {wanted, with margin}.
struct BlendShare {
  int64_t used = 0;       // ceil(size * weight)
  int64_t requested = 0;  // ceil(used * (1 + surplus))
};
[[nodiscard]] BlendShare blend_share(int64_t size, double weight, double surplus);

}  // namespace nemo::megatron

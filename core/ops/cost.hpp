// core/ops/cost.hpp - floating-point operations of a model, by the convention in which MFU is quoted.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::ops {

// Model FLOPs of forward and backward of one micro-batch, from the forward graph: 6 rows n k for each linear (head included; of a mixture
// the rows that are computed), and 6 b h s t (d + e) for attention, halved where causal, so that 6N + 6 L q s per token results. Recompute,
// embedding and elementwise ops do not count.
[[nodiscard]] double model_flops(const graph::Graph& forward);

}  // namespace nemo::ops

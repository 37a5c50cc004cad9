// core/ops/cost.hpp - what work costs: floating-point operations of a model, by the convention in which MFU is quoted, and operations and
// bytes of single ops, from their rows.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::ops {

// Model FLOPs of forward and backward of one micro-batch, from the forward graph: 6 rows n k for each linear (head included; of a mixture
// the rows that are computed), and 6 b h s t (d + e) for attention, halved where causal, so that 6N + 6 L q s per token results. Recompute,
// embedding and elementwise ops do not count.
[[nodiscard]] double model_flops(const graph::Graph& forward);

struct Cost {
  double flops = 0;  // of matrix products and attention; 0 for ops that only move memory
  double bytes = 0;  // the least that must move: each tensor read or written once; outputs that are added to, both
};

// Of one op as it stands in a program. Attention counts 2 flops per multiply-add of the scores that the mask leaves, its gradient 2.5 times
// as many as forward; lookups count the rows that they touch.
[[nodiscard]] Cost cost(const graph::Graph& graph, const graph::Op& op, bool accumulates);

}  // namespace nemo::ops

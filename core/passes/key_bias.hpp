// core/passes/key_bias.hpp - key biases under a softmax have no gradient, so that nothing needs to be summed for it.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::passes {

// A bias of the keys adds the same number to every score of a query, which the softmax takes off again: the sum over all keys of their
// gradient is exactly 0, and what a sum in floating point gives is its rounding error. Where a bias_grad sums key gradients straight from
// attention_grad, alone or side by side with others (concat), it is told which of its elements are 0 (`zero_start`, `zero_length`).
//
// Holds with masks, windows, documents, additive biases, ALiBi and grouped queries, and within any part of the heads or of the batch. Left
// alone are keys that are turned, normalised or gathered on their way from the linear to the attention, sinks (a score without that bias)
// and soft caps. First part of pass "fuse", after differentiation.
void skip_key_bias_gradients(graph::Graph& graph);

}  // namespace nemo::passes

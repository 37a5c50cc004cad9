// core/passes/fuse.hpp - pass "fuse": replaces op patterns by fused rows that the backend has kernels for.
#pragma once

#include <functional>
#include <string_view>

#include "core/graph/graph.hpp"

namespace nemo::passes {

// In this order, behind what is known of key biases (key_bias.hpp):
//   add + norm                                  -> add_rms_norm / add_layer_norm, which takes over the bias of a linear before the add
//   norm_grad + add of the residual gradient    -> *_norm_grad_add; layer_norm_grad_add takes over one bias_grad of its result
//   linear + cross_entropy (+ its gradients)    -> linear_cross_entropy (_train), where nothing else reads the logits
// `supports` says whether the backend has a kernel for a row. Values keep their ids, so readers need no rewriting.
void fuse(graph::Graph& graph, const std::function<bool(std::string_view op)>& supports);

}  // namespace nemo::passes

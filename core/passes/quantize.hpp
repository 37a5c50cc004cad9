// core/passes/quantize.hpp - pass "quantize": the arithmetic of matrix products where it is not the compute dtype's own.
//
// Linears inside blocks and their gradients are rewritten to 8-bit operands with one scale per tensor:
//
//   x  -> quantize -> q  [*a *k], read by linear_fp8
//                     qt [*k *a], read by linear_wgrad_fp8: what is kept for the backward region instead of x
//   w  -> quantize -> q  [*n *k] for linear_fp8, qt [*k *n] for linear_dgrad_fp8: once per step
//   dy -> quantize -> q  [*a *n] for linear_dgrad_fp8, qt [*n *a] for linear_wgrad_fp8
//
// One quantize serves all readers of a value. Runs after "fuse", so that it sees joined siblings and what the loss has taken; embeddings,
// the last linear, norms and attention stay in the compute dtype, as do linears with a size that is no multiple of 16 (what 8-bit matrix
// units need) and those of the blocks that the policy exempts.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/graph/graph.hpp"

namespace nemo::passes {

struct Quantization {
  enum class Scaling { kNone, kCurrent, kDelayed } scaling = Scaling::kNone;
  graph::DType forward = graph::DType::kE4M3;   // inputs and weights
  graph::DType gradient = graph::DType::kE5M2;  // gradients of results
  int64_t margin = 0;                           // scales are divided by 2^margin
  // Delayed scaling: activations and gradients are scaled by the largest magnitudes of the last `history` launches, which state
  // "quantize.amax_history" [tensors, history] f32 remembers. Weights are always scaled by their own.
  int64_t history = 1024;
  bool most_recent = false;                   // by the newest of the history instead of its largest
  int64_t first_blocks = 0, last_blocks = 0;  // exempt
};

// `supports` says whether the backend has a kernel for a row: producers that can give the largest magnitude of their result (rows
// NAME_amax) save a pass over it. Throws nemo::Error(kUnsupported) where the backend has no 8-bit products.
void quantize(graph::Graph& graph, const Quantization& rule, const std::function<bool(std::string_view op)>& supports);

// Fused rows that take in a linear or its gradients of a block, which this pass could then not give another arithmetic: not to be fused
// where it has work to do.
[[nodiscard]] bool hides_linear(std::string_view row);

// Products of f32 operands may round them to TF32: attribute tf32 = 1 on every op that has it and computes in f32.
void allow_tf32(graph::Graph& graph);

}  // namespace nemo::passes

// core/passes/differentiate.hpp - pass "differentiate": appends the backward region to a forward graph, by reverse-mode differentiation of
// output "loss".
#pragma once

#include "core/graph/graph.hpp"
#include "core/passes/stage.hpp"

namespace nemo::passes {

// What is computed again in the backward region instead of being kept (Chen et al. 2016; Korthikanti et al. 2022).
//   kNone       everything is kept
//   kSelective  norms, activations, glu, elementwise ops and casts inside blocks are computed again: nearly free in time
//   kFull       everything inside a block is computed again from the block's inputs
// Under each of them parameters that were gathered from other ranks (ZeRO-3) are not kept but gathered again; so are activations that
// sequence or context parallelism splits where `regather` (Korthikanti et al. 2022: a rank keeps its part of them), or under kFull.
enum class Recompute { kNone, kSelective, kFull };

// The gradient of "loss" (a scalar, the sum over unmasked tokens) with respect to every trainable parameter, seeded by the scalar input
// "loss_scale". Gradients land in the kGradient values of the parameters. Throws nemo::Error if there is no loss or an op on the way has no
// gradient.
//
// Where `stages` says that the graph was cut, a rank need not hold the loss: what its stages send is seeded by inputs "grad.send.C.K", and
// the gradients of what they receive become outputs "grad.recv.C.K"; both are noted in the links.
void differentiate(graph::Graph& graph, Recompute recompute, Stages* stages = nullptr, bool regather = true);

}  // namespace nemo::passes

// core/passes/schedule.hpp - pass "schedule": fixes the order of ops, their streams, and who writes a gradient buffer first.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::passes {

// Ops keep their order (forward, then backward with each weight gradient right behind its input gradient, which frees both soonest).
// Collectives go to stream 1, everything else to stream 0. The first writer of each gradient buffer gets accumulate = 0 (it overwrites in
// the first micro-batch), later ones 1.
void schedule(graph::Graph& graph);

}  // namespace nemo::passes

// core/passes/group.hpp - pass "group": sibling linears that read the same input become one linear over weights that lie side by side in
// memory.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::passes {

// q/k/v and gate/up are declared as separate parameters. Two or three linears with the same input, whose weights are used nowhere else,
// become one over a kParameter value with all of them as members, and `slice` views of its result. The memory pass lays members next to
// each other. Runs before differentiation, so that the backward region has one dgrad and one wgrad as well.
void group(graph::Graph& graph);

}  // namespace nemo::passes

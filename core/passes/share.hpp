// core/passes/share.hpp - pass "share": programs over gradients and parameters that ranks share out (Rajbhandari et al. 2020, stages 2 and
// 3).
#pragma once

#include "core/graph/graph.hpp"
#include "core/passes/layout.hpp"
#include "core/passes/plan.hpp"

namespace nemo::passes {

// Units of the layout are whole only while they are used. Nothing changes where the plan shares out less than gradients.
//
// A region is a run of ops of one block. Stage 3: a region that reads parameters of a unit reads them out of one all_gather of this rank's
// part of the unit, which is placed Plan.prefetch regions ahead, so that it runs under their work (in front of their attention, see .cpp);
// a region that comes at most two later reads the same copy, and with Plan.keep_gathered all do. Stages 2 and 3: gradients of a unit are
// written into one buffer, which behind its last writer, or under the next region's attention, is reduce-scattered and added to this rank's
// part. Scopes: "unit.N.gather", "unit.N.reduce".
void share(graph::Graph& graph, const FlatLayout& layout, const Plan& plan);

}  // namespace nemo::passes

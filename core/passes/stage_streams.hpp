// core/passes/stage_streams.hpp - communication beside computation in a pipeline's rank.
#pragma once

#include "core/passes/overlap.hpp"
#include "core/passes/phases.hpp"

namespace nemo::passes {

// plan_streams() for each launch list of a pipeline's rank by itself, as chunks and phases run at different times. Indices are those of the
// whole graph; the end of a list is the index behind its last op.
[[nodiscard]] StreamPlan plan_streams(const graph::Graph& graph, const Phases& phases);

}  // namespace nemo::passes

// core/passes/partition_emit.hpp - writes the ops of one rank as decided: the second half of partition. Internal to partition.
#pragma once

#include "core/graph/graph.hpp"
#include "core/passes/partition_decide.hpp"
#include "core/passes/partition_rules.hpp"

namespace nemo::passes {

// Rewrites `graph`, for which `decisions` were made. Throws nemo::Error(kUnsupported) where a conversion of an input has no right gradient,
// kConfig where the plan shares state out over ranks that all use a parameter alike; the graph is then half rewritten.
void emit(graph::Graph& graph, const Rules& rules, const Decisions& decisions);

}  // namespace nemo::passes

#include "core/passes/partition.hpp"

#include "core/passes/partition_decide.hpp"
#include "core/passes/partition_emit.hpp"
#include "core/passes/partition_rules.hpp"

namespace nemo::passes {

void partition(graph::Graph& graph, const Plan& plan, const Coordinates& coordinates) {
  const Rules rules(graph, plan, coordinates);
  if (!rules.active()) return;
  rules.check_axes(graph);
  const Decisions decisions = decide(graph, rules);
  graph::Graph local = graph;
  emit(local, rules, decisions);
  graph = std::move(local);
}

}  // namespace nemo::passes

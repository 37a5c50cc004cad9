#include "core/passes/partition.hpp"

#include "core/passes/partition_decide.hpp"
#include "core/passes/partition_emit.hpp"
#include "core/passes/partition_rules.hpp"

namespace nemo::passes {

SequencePart sequence_part(const Plan& plan, const Coordinates& coordinates) {
  for (const MeshAxis& axis : plan.mesh) {
    bool sequences = false, others = false;
    for (const auto& [logical, mesh] : plan.rules)
      if (mesh == axis.name) (logical == "seq" ? sequences : others) = true;
    const auto at = coordinates.find(axis.name);
    if (sequences && !others && axis.size > 1) return {at == coordinates.end() ? 0 : at->second, axis.size, plan.context != "a2a"};
  }
  return {};
}

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

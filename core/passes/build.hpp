// core/passes/build.hpp - pass "build": calls plugins that describe: the model's forward graph, the strategy's plan, the precision's
// policy.
#pragma once

#include "core/graph/builder.hpp"
#include "core/passes/plan.hpp"
#include "core/passes/type.hpp"
#include "core/plugin/component.hpp"

namespace nemo::passes {

// The untyped forward graph of a model (and PEFT edits, where `peft` is given). Throws plugin::PluginError for faults of the settings (fact
// "path"), nemo::Error for faults of the plugin.
[[nodiscard]] graph::Graph build(const plugin::Component& model, const nemo_config* settings, const graph::BuildFacts& facts);
void edit(graph::Graph& graph, const plugin::Component& peft, const nemo_config* settings, const graph::BuildFacts& facts);

// The strategy's plan; checks that rules name mesh axes and that the mesh covers the world.
[[nodiscard]] Plan make_plan(const plugin::Component& strategy, const nemo_config* settings, int64_t world_size, int64_t devices_per_node);

[[nodiscard]] Precision make_precision(const plugin::Component& precision, const nemo_config* settings);

}  // namespace nemo::passes

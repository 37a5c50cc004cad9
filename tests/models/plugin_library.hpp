// tests/models/plugin_library.hpp - a built plugin, loaded as the host would, and the graph that its model describes.
#pragma once

#include <string>

#include "core/graph/builder.hpp"
#include "tests/models/fake_host.hpp"

namespace nemo::models_test {

// The only component of build/lib/nemo/plugins/NAME.so. Never unloaded.
[[nodiscard]] const nemo_component& load_component(const std::string& name);

// Builds the model that `settings` (a recipe's [model] section; its "plugin" names the library) describes, with the core's shape rules,
// and verifies it. Throws Fault.
[[nodiscard]] graph::Graph build_model(const nlohmann::json& settings, const graph::BuildFacts& facts);

// [model] of host/recipes/NAME.toml.
[[nodiscard]] nlohmann::json recipe_model(const std::string& name);

}  // namespace nemo::models_test

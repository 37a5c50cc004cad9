// core/runtime/variant.hpp - published hyperparameters by name: [model] variant = "llama3_8b".
#pragma once

#include "core/config/document.hpp"
#include "core/plugin/component.hpp"

namespace nemo::runtime {

// The recipe with the settings of its model.variant where it does not set them itself; as it is where it names none. Throws Error(kConfig)
// with the nearest name where the plugin has no such variant.
[[nodiscard]] config::Document with_variant(const config::Document& document, const plugin::Component& model);

}  // namespace nemo::runtime

// core/runtime/setup.hpp - from a recipe to validated settings and loaded components; nothing is opened or computed yet.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/section.hpp"
#include "core/plugin/error.hpp"
#include "core/plugin/registry.hpp"

namespace nemo::runtime {

// What a command uses of the recipe; the rest is validated all the same. kPlan needs no device: the backend is chosen without asking for
// one. kNothing computes nothing: no backend is chosen, and [backend] is not read and not among the settings.
enum class Needs { kTraining, kInference, kPlan, kNothing };

struct Setup {
  config::Configuration configuration;
  const plugin::Component* model = nullptr;
  const plugin::Component* data = nullptr;
  const plugin::Component* strategy = nullptr;
  const plugin::Component* precision = nullptr;
  const plugin::Component* backend = nullptr;  // NULL: Needs::kNothing
  const plugin::Component* peft = nullptr;     // NULL: none
  std::vector<const plugin::Component*> loggers;

  [[nodiscard]] const config::Section& section(std::string_view name) const { return configuration.section(name); }
  // Components in use, for the checkpoint's facts.
  [[nodiscard]] std::vector<const plugin::Component*> components() const;
};

// Finds every component that the recipe names and resolves all sections against the schemas of core and components. Where accelerator is
// "auto", a device of any other backend than the CPU's is preferred; `warn` gets a line where such a backend has none. Throws
// nemo::Error(kConfig) with all faults.
[[nodiscard]] Setup make_setup(const config::Document& recipe, plugin::Registry& registry,
                               const std::function<void(const std::string&)>& warn, Needs needs = Needs::kTraining);

// Runs `body`; a plugin's error that names a setting (fact "path") becomes a fault of the recipe with its file:line:column.
template <class Body>
auto placed(const config::Section& section, Body&& body) {
  try {
    return body();
  } catch (const plugin::PluginError& e) {
    if (e.fact("path").empty()) throw;
    throw config::fault_at(section, e.fact("path"), e.what());
  }
}

}  // namespace nemo::runtime

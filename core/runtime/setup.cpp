#include "core/runtime/setup.hpp"

#include "core/config/resolver.hpp"
#include "core/config/sections.hpp"
#include "core/runtime/variant.hpp"

namespace nemo::runtime {
namespace {

constexpr std::string_view kCpu = "cpu";  // the accelerator's word, and the id of the backend that serves it

// Read as written, so that faults of the section's other settings wait until all faults of the recipe are told together.
std::string plugin_of(const config::Document& document, const std::string& section) {
  if (const config::Entry* entry = document.find(section + ".plugin"))
    if (const auto* id = entry->value.as<std::string>()) return *id;
  return config::core_section(document, section).get_string("plugin");
}

// Devices of a backend, asked without settings; the reason where there are none.
int64_t devices_of(const plugin::Component& backend, const config::Document& document, std::string& reason) {
  const config::Section settings("backend", document.recipe());
  int64_t count = 0;
  nemo_str why{};
  plugin::check(backend.api<nemo_backend_api>().device_count(backend.host, &settings, &count, &why));
  reason = std::string(why.ptr, why.len);
  return count;
}

// Nothing where the section has faults: the resolver tells them, with those of all other sections.
std::optional<config::Section> sound_section(const config::Document& document, const std::string& name) {
  try {
    return config::core_section(document, name);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// trainer.deterministic as the backend's own settings say it. What the recipe does not mention keeps the backend's default, which may stop
// at a cost; what it asks for is kept at any cost.
void ask_for_determinism(config::Configuration& configuration) {
  const config::Section& trainer = configuration.section("trainer");
  config::Section& backend = configuration.section("backend");
  const auto is_default = [](const config::Section& s, const char* path) { return s.origin(path).kind == config::Origin::Kind::kDefault; };
  if (is_default(trainer, "deterministic") || !backend.knows("deterministic") || !is_default(backend, "deterministic")) return;
  const bool wanted = trainer.get_bool("deterministic");
  backend.set("deterministic", config::Value{wanted}, trainer.origin("deterministic"));
  if (wanted && backend.knows("determinism_limit") && is_default(backend, "determinism_limit"))
    backend.set("determinism_limit", config::Value{1.0}, trainer.origin("deterministic"));
}

const plugin::Component& choose_backend(const config::Document& document, plugin::Registry& registry,
                                        const std::function<void(const std::string&)>& warn, Needs needs) {
  const auto section = sound_section(document, "trainer");
  if (!section) return registry.find(NEMO_KIND_BACKEND, kCpu);
  const config::Section& trainer = *section;
  if (const std::string& id = trainer.get_string("backend"); !id.empty()) return registry.find(NEMO_KIND_BACKEND, id);
  const std::string& accelerator = trainer.get_string("accelerator");
  if (accelerator == kCpu) return registry.find(NEMO_KIND_BACKEND, kCpu);
  std::string tried;
  for (const plugin::Candidate& candidate : registry.list().candidates) {
    if (!candidate.probe.ok) continue;
    for (const plugin::ComponentName& name : candidate.probe.components) {
      if (name.kind != NEMO_KIND_BACKEND || name.id == kCpu) continue;
      const plugin::Component& backend = registry.find(NEMO_KIND_BACKEND, name.id);
      std::string reason;
      if (needs == Needs::kPlan || devices_of(backend, document, reason) > 0) return backend;
      tried += (tried.empty() ? "" : "; ") + name.id + ": " + reason;
    }
  }
  if (accelerator == "gpu" && needs != Needs::kPlan)
    throw config::fault_at(trainer, "accelerator",
                           "no GPU can be used (" + (tried.empty() ? "no GPU backend is installed" : tried) +
                               "); use trainer.accelerator=cpu, or auto to fall back to it");
  if (!tried.empty()) warn("no GPU can be used (" + tried + "); computing on the CPU");
  return registry.find(NEMO_KIND_BACKEND, kCpu);
}

}  // namespace

std::vector<const plugin::Component*> Setup::components() const {
  std::vector<const plugin::Component*> all{model, data, strategy, precision};
  if (backend != nullptr) all.push_back(backend);
  if (peft != nullptr) all.push_back(peft);
  all.insert(all.end(), loggers.begin(), loggers.end());
  return all;
}

Setup make_setup(const config::Document& recipe, plugin::Registry& registry, const std::function<void(const std::string&)>& warn,
                 Needs needs) {
  Setup setup;
  setup.model = &registry.find(NEMO_KIND_MODEL, plugin_of(recipe, "model"));
  const config::Document whole = with_variant(recipe, *setup.model);
  const config::Document document = needs == Needs::kNothing ? whole.without("backend") : whole;
  setup.data = &registry.find(NEMO_KIND_DATA, plugin_of(document, "data"));
  setup.strategy = &registry.find(NEMO_KIND_STRATEGY, plugin_of(document, "strategy"));
  setup.precision = &registry.find(NEMO_KIND_PRECISION, plugin_of(document, "precision"));
  if (const std::string peft = plugin_of(document, "peft"); peft != "none") setup.peft = &registry.find(NEMO_KIND_PEFT, peft);
  if (const auto log = sound_section(document, "log"))
    for (const std::string& id : log->get_strings("loggers")) setup.loggers.push_back(&registry.find(NEMO_KIND_LOGGER, id));
  if (needs != Needs::kNothing) setup.backend = &choose_backend(document, registry, warn, needs);

  config::Resolver resolver(document);
  for (const std::string_view name : config::section_names())
    if (name != "backend") resolver.add(std::string(name), "core", config::core_schema(name));
  const auto add = [&](const std::string& section, const plugin::Component* component) {
    if (component != nullptr) resolver.add(section, component->id, component->schema);
  };
  add("model", setup.model);
  add("data", setup.data);
  add("strategy", setup.strategy);
  add("precision", setup.precision);
  add("peft", setup.peft);
  add("backend", setup.backend);
  for (const plugin::Component* logger : setup.loggers) add("log." + logger->id, logger);
  setup.configuration = resolver.resolve();
  if (setup.backend != nullptr) ask_for_determinism(setup.configuration);
  return setup;
}

}  // namespace nemo::runtime

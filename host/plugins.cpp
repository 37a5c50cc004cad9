// host/plugins.cpp - plugins list | inspect ID.

#include <iostream>

#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/config/render.hpp"
#include "core/plugin/kind.hpp"
#include "core/plugin/render.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {
namespace {

namespace po = boost::program_options;

// "llama" or "model:llama"; without a kind, the first kind that has the id.
const plugin::Component& find(plugin::Registry& registry, const std::string& name) {
  const size_t colon = name.find(':');
  if (colon != std::string::npos) {
    const nemo_kind kind = plugin::kind_from_name(name.substr(0, colon));
    if (kind == 0)
      throw Error(Code::kConfig, "'" + name.substr(0, colon) +
                                     "' is no kind of plugin; kinds are model, strategy, data, precision, peft, logger, backend");
    return registry.find(kind, name.substr(colon + 1));
  }
  for (const plugin::Candidate& candidate : registry.list().candidates)
    for (const plugin::ComponentName& component : candidate.probe.components)
      if (candidate.probe.ok && component.id == name) return registry.find(component.kind, name);
  std::string known;
  for (const plugin::Candidate& candidate : registry.list().candidates)
    for (const plugin::ComponentName& component : candidate.probe.components) known += " " + to_string(component);
  throw Error(Code::kConfig, "no plugin '" + name + "'; found:" + known + "\n" + render_list(registry.list()));
}

int list(plugin::Registry& registry, bool json) {
  std::cout << (json ? plugin::list_json(registry.list()).dump(2) + "\n" : plugin::render_list(registry.list()));
  return kDone;
}

int inspect(plugin::Registry& registry, const std::string& name, bool json) {
  const plugin::Component& component = find(registry, name);
  if (json) {
    nlohmann::ordered_json out = plugin::component_json(component);
    out["settings"] = nlohmann::ordered_json::parse(config::schema_to_json(*component.schema, component.id));
    std::cout << out.dump(2) << "\n";
  } else {
    std::cout << plugin::render_component(component) << "\nsettings\n" << config::describe(*component.schema, component.id);
  }
  return kDone;
}

}  // namespace

int plugins(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host plugins list [--json] | plugins inspect [KIND:]ID [--json]";
  po::options_description options("options");
  options.add_options()("json", "machine-readable")("path", po::value<std::vector<std::string>>()->composing(),
                                                    "a further folder to search first");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  std::vector<std::filesystem::path> paths;
  if (parsed.values.count("path"))
    for (const std::string& p : parsed.values["path"].as<std::vector<std::string>>()) paths.push_back(std::filesystem::absolute(p));
  plugin::Registry& registry = program.registry(paths, std::filesystem::current_path());
  const bool json = parsed.values.count("json") > 0;
  if (parsed.positional == std::vector<std::string>{"list"}) return list(registry, json);
  if (parsed.positional.size() == 2 && parsed.positional[0] == "inspect") return inspect(registry, parsed.positional[1], json);
  throw Error(Code::kConfig, "usage: " + usage);
}

}  // namespace nemo::host

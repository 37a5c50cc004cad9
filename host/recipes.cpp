// host/recipes.cpp - recipes list | show NAME.

#include <fstream>
#include <iostream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {
namespace {

// The comment on a recipe's first line.
std::string summary(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line.starts_with("# ") ? line.substr(2) : "";
}

std::filesystem::path locate(const std::string& name, const std::vector<std::filesystem::path>& folders) {
  for (const auto& folder : folders)
    for (const std::string& file : {name, name + ".toml"})
      if (std::filesystem::is_regular_file(folder / file)) return folder / file;
  const std::string near = nearest_name(name, config::recipe_names(folders));
  throw Error(Code::kConfig, "no shipped recipe '" + name + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?") +
                                 " (see nemo-host recipes list)");
}

int list(const std::vector<std::filesystem::path>& folders, bool json) {
  auto out = nlohmann::ordered_json::array();
  for (const std::string& name : config::recipe_names(folders)) {
    const auto file = locate(name, folders);
    if (json)
      out.push_back({{"name", name}, {"file", file.string()}, {"summary", summary(file)}});
    else
      std::cout << name << std::string(name.size() < 20 ? 20 - name.size() : 1, ' ') << summary(file) << "\n";
  }
  if (json) std::cout << out.dump(2) << "\n";
  return kDone;
}

}  // namespace

int recipes(Program&, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host recipes list [--json] | recipes show NAME";
  boost::program_options::options_description options("options");
  options.add_options()("json", "machine-readable");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  const auto folders = recipe_folders();
  if (parsed.positional == std::vector<std::string>{"list"}) return list(folders, parsed.values.count("json") > 0);
  if (parsed.positional.size() == 2 && parsed.positional[0] == "show") {
    std::ifstream in(locate(parsed.positional[1], folders));
    std::cout << in.rdbuf();
    return kDone;
  }
  throw Error(Code::kConfig, "usage: " + usage);
}

}  // namespace nemo::host

#include "tests/planner/planned.hpp"

#include <filesystem>
#include <iterator>
#include <map>
#include <sstream>

#include "core/config/config_api.hpp"
#include "core/planner/request.hpp"
#include "core/plugin/registry.hpp"
#include "core/plugin/search_path.hpp"

namespace nemo::planner_test {
namespace {

class Plugins {
 public:
  Plugins() : table_(options()) {
    plugin::SearchSources sources;
    sources.install_folder = NEMO_BUILD_DIR "/lib/nemo/plugins";
    registry_ = std::make_unique<plugin::Registry>(plugin::SearchPath(sources), table_);
  }
  plugin::Registry& registry() { return *registry_; }

 private:
  static plugin::HostOptions options() {
    plugin::HostOptions options;
    options.fill_config = config::fill_config_api;
    return options;
  }
  plugin::HostTable table_;
  std::unique_ptr<plugin::Registry> registry_;
};

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

}  // namespace

const planner::Hardware& hardware(const std::string& name) {
  static std::map<std::string, planner::Hardware> known;
  const std::vector<std::filesystem::path> folders{NEMO_SOURCE_DIR "/host/hardware"};
  if (!known.contains(name)) known.emplace(name, planner::load_hardware(name, folders));
  return known.at(name);
}

planner::Report planned(const std::string& recipe, const std::string& settings, const planner::Hardware& on) {
  static Plugins plugins;
  const std::vector<std::filesystem::path> folders{NEMO_SOURCE_DIR "/host/recipes"};
  const auto document = config::Document::load(recipe, folders, words(settings));
  const runtime::Setup setup = runtime::make_setup(
      document, plugins.registry(), [](const std::string&) {}, runtime::Needs::kPlan);
  return planner::make_report(planner::make_request(setup, nullptr), on);
}

}  // namespace nemo::planner_test

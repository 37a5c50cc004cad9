#include "core/plugin/search_path.hpp"

#include <sys/auxv.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include <boost/dll/runtime_symbol_info.hpp>

namespace nemo::plugin {
namespace {

namespace fs = std::filesystem;

SearchDirectory examine(const fs::path& path, const std::string& origin) {
  SearchDirectory d{path, origin, DirectoryState::kSearched, ""};
  const auto refuse = [&](const char* reason) { return d.state = DirectoryState::kRefused, d.reason = reason, d; };
  if (!path.is_absolute()) return refuse("not an absolute path; the current directory is never searched");
  std::error_code fault;
  const fs::file_status status = fs::status(path, fault);
  if (status.type() == fs::file_type::not_found) return d.state = DirectoryState::kMissing, d.reason = "does not exist", d;
  if (status.type() == fs::file_type::none || status.type() == fs::file_type::unknown) return refuse("cannot be read");
  if (status.type() != fs::file_type::directory) return refuse("not a directory");
  if ((status.permissions() & fs::perms::others_write) != fs::perms::none)
    return refuse("everyone may write to it, so anyone could place a plugin there; chmod o-w");
  const fs::directory_iterator readable(path, fault);
  if (fault) return refuse("cannot be read");
  d.path = fs::canonical(path, fault);
  if (fault) d.path = path;
  return d;
}

}  // namespace

SearchSources process_sources(std::vector<fs::path> recipe_paths, fs::path recipe_folder) {
  SearchSources s;
  s.recipe_paths = std::move(recipe_paths);
  s.recipe_folder = std::move(recipe_folder);
  if (const char* value = std::getenv("NEMO_PLUGIN_PATH")) s.environment = value;
  s.install_folder = (boost::dll::program_location().parent_path().parent_path() / "lib" / "nemo" / "plugins").lexically_normal();
  s.privilege = ::getauxval(AT_SECURE) != 0 ? Privilege::kElevated : Privilege::kOrdinary;
  return s;
}

SearchPath::SearchPath(const SearchSources& sources) {
  for (const fs::path& path : sources.recipe_paths) add(path.is_absolute() ? path : sources.recipe_folder / path, "[plugins].paths");
  std::string_view rest = sources.environment;
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    const fs::path path(rest.substr(0, colon));
    rest.remove_prefix(std::min(colon + 1, rest.size()));
    if (path.empty()) continue;
    if (sources.privilege == Privilege::kElevated)
      directories_.push_back({path, "NEMO_PLUGIN_PATH", DirectoryState::kRefused, "the environment is ignored in a privileged process"});
    else
      add(path, "NEMO_PLUGIN_PATH");
  }
  if (!sources.install_folder.empty()) add(sources.install_folder, "install folder");
}

void SearchPath::add(const fs::path& path, const std::string& origin) {
  SearchDirectory d = examine(path, origin);
  const auto same = [&](const SearchDirectory& other) { return other.path == d.path; };
  if (std::none_of(directories_.begin(), directories_.end(), same)) directories_.push_back(std::move(d));
}

}  // namespace nemo::plugin

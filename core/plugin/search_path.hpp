// core/plugin/search_path.hpp - where plugins are looked for, in which order.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nemo::plugin {

enum class DirectoryState { kSearched, kMissing, kRefused };

struct SearchDirectory {
  std::filesystem::path path;
  std::string origin;  // "[plugins].paths", "NEMO_PLUGIN_PATH", "install folder"
  DirectoryState state = DirectoryState::kSearched;
  std::string reason;  // why not searched; empty if it is
};

enum class Privilege { kOrdinary, kElevated };

// What the order is made from. Defaults are those of a library user without a recipe: nothing but what is set is searched.
struct SearchSources {
  std::vector<std::filesystem::path> recipe_paths;  // [plugins].paths; relative ones are relative to recipe_folder
  std::filesystem::path recipe_folder;              // absolute
  std::string environment;                          // value of NEMO_PLUGIN_PATH: absolute folders, separated by colons
  std::filesystem::path install_folder;             // absolute; empty: none
  Privilege privilege = Privilege::kOrdinary;       // kElevated: the environment is ignored
};

// The sources of this process: environment variable, <folder of the executable>/../lib/nemo/plugins, set-user-id or capabilities
// (AT_SECURE).
[[nodiscard]] SearchSources process_sources(std::vector<std::filesystem::path> recipe_paths, std::filesystem::path recipe_folder);

// Directories in search order: recipe, environment, install folder; each once (the first mention counts). A directory is refused if it is
// given relative to the current directory, is no directory, is writable by everyone, or comes from the environment of a privileged process.
// A missing one is kept as kMissing, for messages. Subdirectories are never searched.
class SearchPath {
 public:
  explicit SearchPath(const SearchSources& sources);
  [[nodiscard]] const std::vector<SearchDirectory>& directories() const { return directories_; }

 private:
  void add(const std::filesystem::path& path, const std::string& origin);
  std::vector<SearchDirectory> directories_;
};

}  // namespace nemo::plugin

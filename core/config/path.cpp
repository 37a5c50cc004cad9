#include "core/config/path.hpp"

#include <glob.h>

#include <cstdlib>

namespace nemo::config {
namespace {

namespace fs = std::filesystem;

std::string expand_home(const std::string& text) {
  const char* home = std::getenv("HOME");
  if (home == nullptr || (text != "~" && !text.starts_with("~/"))) return text;
  return home + text.substr(1);
}

bool glob_matches(const fs::path& pattern) {
  glob_t found{};
  const bool matches = glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0;
  globfree(&found);
  return matches;
}

bool exists_in(const fs::path& folder, const std::string& text) {
  std::error_code ignored;
  if (fs::exists(folder / text, ignored)) return true;
  const size_t wild = text.find_first_of("*?[");
  if (wild == std::string::npos) return false;
  const size_t slash = text.rfind('/', wild);
  return slash == std::string::npos ? glob_matches(folder / text) : fs::is_directory(folder / text.substr(0, slash), ignored);
}

}  // namespace

std::string resolve_path(const std::string& text, std::span<const fs::path> folders) {
  if (text.empty()) return text;
  const std::string path = expand_home(text);
  if (fs::path(path).is_relative())
    for (const fs::path& folder : folders)
      if (exists_in(folder, path)) return (fs::current_path() / folder / path).lexically_normal();
  return (fs::current_path() / path).lexically_normal();
}

}  // namespace nemo::config

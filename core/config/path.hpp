// core/config/path.hpp - where a path in a recipe points.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace nemo::config {

// The absolute path that `text` means: "~" and "~/" are the home folder; a relative path is taken from the first of `folders` in which it
// exists, else from the current folder. A glob (* ? [) exists where its leading folder does, or where it matches if it starts at once;
// it stays a glob. The empty text stays empty. An empty folder is the current folder.
[[nodiscard]] std::string resolve_path(const std::string& text, std::span<const std::filesystem::path> folders);

}  // namespace nemo::config

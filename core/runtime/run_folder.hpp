// core/runtime/run_folder.hpp - the folder of a run: <log.dir>/<job.name>/ with recipe.toml, metrics, checkpoints/.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/runtime/setup.hpp"

namespace nemo::runtime {

// job.name, or the recipe file's name without extension.
[[nodiscard]] std::filesystem::path run_folder(const Setup& setup);

// Makes the folder and writes recipe.toml into it (complete or not at all).
void make_run_folder(const std::filesystem::path& folder, const std::string& recipe);

// Renames an existing run to <folder>.old-N, so that a fresh one can start and nothing is lost; `info` gets a line.
void move_aside(const std::filesystem::path& folder, const std::function<void(const std::string&)>& info);

}  // namespace nemo::runtime

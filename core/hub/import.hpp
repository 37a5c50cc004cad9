// core/hub/import.hpp - a Hugging Face model folder becomes a checkpoint that every command takes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/hub/model_folder.hpp"
#include "core/runtime/setup.hpp"

namespace nemo::hub {

// Files that a checkpoint keeps of the folder it was imported from, below hf/.
inline constexpr const char* kKeptConfig = "hf/config.json";
inline constexpr const char* kKeptGeneration = "hf/generation_config.json";
inline constexpr const char* kKeptLayout = "hf/layout.json";  // spelling and aliases of the tensors' names

struct ImportOptions {
  std::filesystem::path from, to;
  std::string recipe;                  // TOML of the sections beside [model]: at least data.plugin
  std::vector<std::string> overrides;  // "section.key=value"
};

struct ImportResult {
  std::string plugin;
  size_t tensors;
  uint64_t bytes;
};

// Streams: beside the graph, memory holds at most one parameter (and the pages of its tensors). Everything is checked before the first byte
// is written. The checkpoint has step 0 and no optimizer state.
// Errors: kUnsupported (architecture, setting, dtype), kDataLoss (files; missing, unexpected or misshapen tensors, by name), those of
// Writer.
ImportResult import_model(const ImportOptions& options, plugin::Registry& registry, const Say& warn);

}  // namespace nemo::hub

// core/hub/model_folder.hpp - a Hugging Face model folder: which plugin reads its config.json, with which settings, and its small files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/hub/json_document.hpp"
#include "core/plugin/registry.hpp"

namespace nemo::hub {

using Say = std::function<void(const std::string&)>;

struct FolderConfig {
  const plugin::Component* model;
  JsonText config;
  std::string settings;             // TOML lines of [model], with the plugin
  int64_t max_position_embeddings;  // 0 where config.json does not say
};

// Reads config.json and lets the plugin that has its architecture fill the settings. `warn` gets a line for each key that the plugin did
// not read and that is not known to be without effect. Throws Error(kUnsupported) for an unknown architecture, with the known ones, and for
// keys that the plugin refuses.
[[nodiscard]] FolderConfig read_config(const std::filesystem::path& folder, plugin::Registry& registry, const Say& warn);

// Names of files of the folder that make its tokenizer.
[[nodiscard]] std::vector<std::string> tokenizer_files(const std::filesystem::path& folder);

// Nested JSON of scalars and lists as TOML lines with dotted keys.
[[nodiscard]] std::string to_toml_lines(const Json& settings, const std::string& where);

}  // namespace nemo::hub

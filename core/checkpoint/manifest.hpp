// core/checkpoint/manifest.hpp - manifest.json, the last file written into a checkpoint: what it is and the checksum of every other file.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/checkpoint/durable.hpp"

namespace nemo::checkpoint {

inline constexpr int kFormatVersion = 1;
inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kTensorFile = "checkpoint.h5";
inline constexpr const char* kRecipeFile = "recipe.toml";

struct PluginId {
  std::string kind, id, version;
  bool operator==(const PluginId&) const = default;
};

// What the caller says about the checkpoint at commit.
struct Facts {
  int64_t step = 0;
  std::map<std::string, double> metrics;  // those a retention rule may monitor ("val_loss"); a value that is not finite reads back as NaN
  std::vector<PluginId> plugins;
};

struct Manifest {
  Facts facts;
  std::map<std::string, Sum> files;  // by path relative to the checkpoint's folder
};

// JSON text that ends with a checksum of itself.
[[nodiscard]] std::string to_json(const Manifest& manifest);

// Reads <directory>/manifest.json. kNotFound: no such folder. kDataLoss: missing, cut or altered. kUnsupported: another format version.
[[nodiscard]] Manifest read_manifest(const std::filesystem::path& directory);

// True for "a/b.txt": relative, and never leaving the folder.
[[nodiscard]] bool is_inside(const std::filesystem::path& relative);

}  // namespace nemo::checkpoint

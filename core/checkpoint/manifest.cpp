#include "core/checkpoint/manifest.hpp"

#include <zlib.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/base/error.hpp"

namespace nemo::checkpoint {
namespace fs = std::filesystem;
using nlohmann::json;
namespace {

constexpr const char* kFormat = "nemo-checkpoint";
constexpr const char* kOwnSum = "manifest_crc32";

uint32_t crc_of_text(const std::string& text) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size()));
}

Manifest from_json(const json& root) {
  Manifest manifest;
  manifest.facts.step = root.at("step").get<int64_t>();
  for (const auto& [name, value] : root.at("metrics").items())
    manifest.facts.metrics[name] = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  for (const json& plugin : root.at("plugins"))
    manifest.facts.plugins.push_back({plugin.at("kind"), plugin.at("id"), plugin.at("version")});
  for (const auto& [name, file] : root.at("files").items()) {
    if (!is_inside(name)) throw std::invalid_argument("file name '" + name + "' leaves the folder");
    manifest.files[name] = {file.at("bytes").get<uint64_t>(), file.at("crc32").get<uint32_t>()};
  }
  return manifest;
}

void check_format(const json& root, const fs::path& path) {
  if (!root.is_object() || root.value("format", "") != kFormat)
    throw Error(Code::kDataLoss, path.string() + " is damaged: it is not the manifest of a checkpoint");
  const int version = root.value("format_version", 0);
  if (version != kFormatVersion)
    throw Error(Code::kUnsupported, path.string() + ": checkpoint format version " + std::to_string(version) +
                                        "; this program reads version " + std::to_string(kFormatVersion) +
                                        "; use the version of the program that wrote it");
}

}  // namespace

bool is_inside(const fs::path& relative) {
  if (relative.empty() || relative.is_absolute() || !relative.has_filename()) return false;
  for (const fs::path& part : relative)
    if (part == ".." || part == ".") return false;
  return true;
}

std::string to_json(const Manifest& manifest) {
  json root{{"format", kFormat}, {"format_version", kFormatVersion}, {"step", manifest.facts.step}};
  root["metrics"] = json::object();
  for (const auto& [name, value] : manifest.facts.metrics) root["metrics"][name] = std::isfinite(value) ? json(value) : json();
  root["plugins"] = json::array();
  for (const PluginId& p : manifest.facts.plugins) root["plugins"].push_back({{"kind", p.kind}, {"id", p.id}, {"version", p.version}});
  root["files"] = json::object();
  for (const auto& [name, sum] : manifest.files) root["files"][name] = {{"bytes", sum.bytes}, {"crc32", sum.crc32}};
  root[kOwnSum] = crc_of_text(root.dump());
  return root.dump(2) + "\n";
}

Manifest read_manifest(const fs::path& directory) {
  const fs::path path = directory / kManifestFile;
  if (!fs::is_directory(directory)) throw Error(Code::kNotFound, "no checkpoint folder " + directory.string());
  if (!fs::exists(path))
    throw Error(Code::kDataLoss, path.string() + " is missing: the checkpoint is incomplete (its manifest is written last)");
  try {
    json root = json::parse(read_file(path));
    check_format(root, path);
    const uint32_t stated = root.at(kOwnSum).get<uint32_t>();
    root.erase(kOwnSum);
    if (crc_of_text(root.dump()) != stated)
      throw Error(Code::kDataLoss, path.string() + " is damaged: its checksum does not match its content");
    return from_json(root);
  } catch (const std::system_error& e) {
    throw Error(Code::kDataLoss, "cannot read " + path.string() + ": " + e.what());
  } catch (const json::exception& e) {
    throw Error(Code::kDataLoss, path.string() + " is damaged: " + e.what());
  } catch (const std::invalid_argument& e) {
    throw Error(Code::kDataLoss, path.string() + " is damaged: " + e.what());
  }
}

}  // namespace nemo::checkpoint

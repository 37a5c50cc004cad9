// tests/hub/files.hpp - model folders and plugins for tests of core/hub.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/plugin/registry.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::hub_test {

// A folder of its own, removed at the end.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void write(const std::filesystem::path& file, const std::string& content);
[[nodiscard]] std::string read(const std::filesystem::path& file);
// A safetensors file: the header's text, its length before it, data behind it.
[[nodiscard]] std::string safetensors(const std::string& header, const std::string& data);
[[nodiscard]] std::filesystem::path golden_folder(const std::string& model);
// The folder's files in a new place, where they can be changed.
void copy_model(const std::string& model, const std::filesystem::path& to);

// Plugins of the build tree, and a context that keeps warnings.
struct Host {
  Host();
  [[nodiscard]] plugin::Registry& registry() { return *registry_; }
  runtime::RunContext context;
  std::vector<std::string> warnings;

 private:
  std::unique_ptr<plugin::HostTable> table_;
  std::unique_ptr<plugin::Registry> registry_;
};

// What nemo::Error says; "" where none is thrown.
template <class Body>
std::string fault(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

inline constexpr const char* kRecipe = "[data]\nplugin = \"mock\"\n";

}  // namespace nemo::hub_test

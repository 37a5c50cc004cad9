// core/plugin/library.hpp - one plugin library in memory: opened, asked for its description, and never unloaded.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "core/plugin/component.hpp"
#include "core/plugin/host_table.hpp"
#include "core/plugin/probe.hpp"

namespace nemo::plugin {

class Library {
 public:
  // Opens a library that probe() accepted: dlopen(RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE), entry, and the checks of plugin.h: sizes, minor
  // and SDK build, required slots, no duplicates, components equal to the record. Errors name the file: PluginError if the plugin itself
  // refused, else nemo::Error(kUnsupported). [host-thread]
  Library(const ProbeResult& probe, HostTable& table);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Component>>& components() const { return components_; }
  // Calls the plugin's shutdown once, if it has one; throws what it returns. All instances are gone. [host-thread]
  void shutdown();

 private:
  void read_description(const nemo_plugin* description, const ProbeResult& probe, nemo_host* host);
  std::filesystem::path path_;
  std::vector<std::unique_ptr<Component>> components_;
  nemo_error* (*shutdown_)(void) = nullptr;
};

}  // namespace nemo::plugin

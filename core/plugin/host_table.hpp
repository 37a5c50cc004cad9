// core/plugin/host_table.hpp - the functions that plugins may call of the host (nemo/host.h), and who they are called for.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nemo/nemo.h"

namespace nemo::plugin {

// Called from any thread, also several at once; must not block. What it throws is dropped.
using LogSink = std::function<void(nemo_log_level, std::string_view component, std::string_view message)>;

struct HostOptions {
  LogSink log;                                                 // empty: lines are dropped
  const std::atomic<bool>* cancelled = nullptr;                // true once the user asked to stop; NULL: never
  void (*fill_config)(nemo_host_api&) = nullptr;               // sets the config_* slots (core/config); NULL leaves them NULL
  std::map<std::string, const void*, std::less<>> extensions;  // "nemo.NAME/REVISION" -> static table
};

// Owns the host's function table and one nemo_host per library, so that log lines and errors know whose they are. Plugins keep both
// pointers: a HostTable lives until main returns, longer than every Registry that uses it.
class HostTable {
 public:
  explicit HostTable(HostOptions options);
  ~HostTable();
  HostTable(const HostTable&) = delete;
  HostTable& operator=(const HostTable&) = delete;

  [[nodiscard]] const nemo_host_api* api() const { return &api_; }
  // The host as `library` sees it; the same pointer for the same path. Errors that the library makes carry fact "library"; its log lines
  // without a component name carry the library's file name. [host-thread]
  [[nodiscard]] nemo_host* host_of(const std::filesystem::path& library);
  // A line of the host itself. [any-thread]
  void log(nemo_log_level level, std::string_view component, std::string_view message) const noexcept;

  [[nodiscard]] bool cancelled() const noexcept;
  [[nodiscard]] const void* extension(std::string_view id) const noexcept;

 private:
  HostOptions options_;
  nemo_host_api api_{};
  std::vector<std::unique_ptr<nemo_host>> hosts_;
};

}  // namespace nemo::plugin

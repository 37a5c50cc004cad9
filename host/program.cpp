#include "host/program.hpp"

#include <algorithm>
#include <csignal>

#include <spdlog/spdlog.h>

#include "core/checkpoint/reader.hpp"
#include "core/config/config_api.hpp"
#include "core/config/resolver.hpp"
#include "core/plugin/error.hpp"
#include "core/plugin/search_path.hpp"

namespace nemo::host {
namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void on_interrupt(int) {
  if (stop.exchange(true)) std::_Exit(kInterrupted);
}

void log_line(nemo_log_level level, std::string_view component, std::string_view message) {
  const auto to = level == NEMO_LOG_DEBUG     ? spdlog::level::debug
                  : level == NEMO_LOG_INFO    ? spdlog::level::info
                  : level == NEMO_LOG_WARNING ? spdlog::level::warn
                                              : spdlog::level::err;
  if (component.empty())
    spdlog::log(to, "{}", message);
  else
    spdlog::log(to, "{}: {}", component, message);
}

plugin::HostOptions host_options() {
  plugin::HostOptions options;
  options.log = log_line;
  options.cancelled = &stop;
  options.fill_config = config::fill_config_api;
  return options;
}

}  // namespace

Program::Program() : table_(host_options()) {}

plugin::Registry& Program::registry(const std::vector<std::filesystem::path>& paths, const std::filesystem::path& recipe_folder) {
  registry_ = std::make_unique<plugin::Registry>(plugin::SearchPath(plugin::process_sources(paths, recipe_folder)), table_);
  return *registry_;
}

plugin::Registry& Program::registry(const config::Document& document) {
  std::vector<std::filesystem::path> paths;
  for (const std::string& path : config::core_section(document, "plugins").get_strings("paths")) paths.emplace_back(path);
  return registry(paths, std::filesystem::absolute(document.recipe()).parent_path());
}

runtime::RunContext Program::context() const {
  return {table_.api(),
          &stop,
          nullptr,
          [](const std::string& line) { spdlog::info("{}", line); },
          [](const std::string& line) { spdlog::warn("{}", line); },
          nullptr};
}

namespace {
std::filesystem::path shared(const char* folder) {
  const std::filesystem::path executable = std::filesystem::read_symlink("/proc/self/exe");
  return executable.parent_path().parent_path() / "share/nemo" / folder;
}
}  // namespace

config::Document checkpoint_document(const std::filesystem::path& checkpoint, const std::vector<std::string>& overrides) {
  const std::string recipe = checkpoint::Reader(checkpoint, checkpoint::Verify::kSizes).recipe();
  config::Document document = config::Document::parse(recipe, (checkpoint / checkpoint::kRecipeFile).string(), overrides);
  const bool named = std::any_of(overrides.begin(), overrides.end(), [](const std::string& o) { return o.starts_with("backend."); });
  return named ? document : document.without("backend");
}

std::vector<std::filesystem::path> recipe_folders() { return {shared("recipes")}; }
std::vector<std::filesystem::path> hardware_folders() { return {shared("hardware")}; }

int exit_code(const Error& error) {
  return error.code() == Code::kCancelled ? kInterrupted : error.code() == Code::kConfig ? kUsage : kFailed;
}

const std::atomic<bool>& interrupted() { return stop; }
void forget_interrupt() { stop = false; }

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then a write error with a message
}

}  // namespace nemo::host

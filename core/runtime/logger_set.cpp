#include "core/runtime/logger_set.hpp"

#include <unistd.h>

namespace nemo::runtime {
namespace {
nemo_str to_str(std::string_view s) { return {s.data(), s.size()}; }
}  // namespace

LoggerSet::LoggerSet(const Setup& setup, const RunFacts& facts, std::function<void(const std::string&)> warn) : warn_(std::move(warn)) {
  const std::string directory = facts.directory.string();
  nemo_run_info info{};
  info.struct_size = sizeof info;
  info.name = to_str(facts.name);
  info.directory = to_str(directory);
  info.recipe = to_str(facts.recipe);
  info.first_step = facts.first_step;
  info.max_steps = facts.max_steps;
  info.is_terminal = isatty(STDOUT_FILENO) != 0;
  for (const plugin::Component* component : setup.loggers) {
    const std::string section = "log." + component->id;
    nemo_logger* handle = nullptr;
    placed(setup.section(section),
           [&] { plugin::check(component->api<nemo_logger_api>().start(component->host, &setup.section(section), &info, &handle)); });
    loggers_.push_back({component, handle});
  }
}

LoggerSet::~LoggerSet() {
  for (const Logger& logger : loggers_) logger.component->api<nemo_logger_api>().destroy(logger.handle);
}

template <class Call>
void LoggerSet::each(Call&& call) {
  for (Logger& logger : loggers_) {
    if (logger.failed) continue;
    try {
      call(logger.component->api<nemo_logger_api>(), logger.handle);
    } catch (const Error& e) {
      logger.failed = true;
      warn_("logger '" + logger.component->id + "' failed and is left out from here on: " + e.what());
    }
  }
}

void LoggerSet::metrics(int64_t step, const Metrics& metrics) {
  std::vector<nemo_metric> raw;
  for (const auto& [name, value] : metrics) raw.push_back({to_str(name), value});
  each([&](const nemo_logger_api& api, nemo_logger* handle) {
    plugin::check(api.metrics(handle, step, raw.data(), raw.size(), sizeof(nemo_metric)));
  });
}

void LoggerSet::text(int64_t step, const std::string& line) {
  each([&](const nemo_logger_api& api, nemo_logger* handle) {
    if (api.text != nullptr) plugin::check(api.text(handle, step, to_str(line)));
  });
}

void LoggerSet::finish(const std::string& status, const std::string& message) {
  each([&](const nemo_logger_api& api, nemo_logger* handle) { plugin::check(api.finish(handle, to_str(status), to_str(message))); });
}

}  // namespace nemo::runtime

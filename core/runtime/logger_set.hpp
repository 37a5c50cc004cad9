// core/runtime/logger_set.hpp - the run's loggers; one that fails is reported once and left out from then on.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/runtime/setup.hpp"

namespace nemo::runtime {

using Metrics = std::vector<std::pair<std::string, double>>;

struct RunFacts {
  std::string name;
  std::filesystem::path directory;
  std::string recipe;  // resolved, TOML
  int64_t first_step = 1;
  int64_t max_steps = 0;
};

class LoggerSet {
 public:
  // Starts every logger of the recipe; a fault here ends the run, since it is most likely a setting.
  LoggerSet(const Setup& setup, const RunFacts& facts, std::function<void(const std::string&)> warn);
  ~LoggerSet();
  LoggerSet(const LoggerSet&) = delete;
  LoggerSet& operator=(const LoggerSet&) = delete;

  void metrics(int64_t step, const Metrics& metrics);
  void text(int64_t step, const std::string& line);
  void finish(const std::string& status, const std::string& message);

 private:
  struct Logger {
    const plugin::Component* component;
    nemo_logger* handle;
    bool failed = false;
  };
  template <class Call>
  void each(Call&& call);
  std::vector<Logger> loggers_;
  std::function<void(const std::string&)> warn_;
};

}  // namespace nemo::runtime

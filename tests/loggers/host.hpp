// tests/loggers/host.hpp - a small host: opens a built logger plugin and drives it through the C ABI as the train loop does.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "nemo/nemo.h"

namespace nemo::test {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string content(const std::filesystem::path& file);
void write(const std::filesystem::path& file, const std::string& text);
std::vector<std::string> lines(const std::filesystem::path& file);

// A nemo_error that a plugin returned.
struct PluginError : std::runtime_error {
  PluginError(nemo_code c, const std::string& message) : std::runtime_error(message), code(c) {}
  nemo_code code;
  std::map<std::string, std::string> facts;
};

struct RunFacts {
  int64_t first_step = 1;
  int64_t max_steps = 1000;
  bool terminal = false;
  std::map<std::string, std::string> settings = {};  // over the schema's defaults
};

// One logger of one run. Plugin errors are thrown as PluginError.
class Logger {
 public:
  using Metrics = std::vector<std::pair<std::string, double>>;
  Logger(const std::string& id, const std::filesystem::path& directory, const RunFacts& run = {});
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;
  void metrics(int64_t step, const Metrics& values);
  void text(const std::string& line);
  void finish(const std::string& status = "done", const std::string& message = "");

 private:
  const nemo_logger_api* api_ = nullptr;
  nemo_logger* logger_ = nullptr;
};

// Warnings that plugins logged so far in this process.
std::vector<std::string>& warnings();

// Runs `body` under a limit of the size of files, as on a full disk: writes beyond it fail with EFBIG.
template <class Body>
void with_file_size_limit(uint64_t bytes, Body&& body) {
  const auto previous = ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit small{bytes, limit.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  body();
  ::setrlimit(RLIMIT_FSIZE, &limit);
  ::signal(SIGXFSZ, previous);
}

}  // namespace nemo::test

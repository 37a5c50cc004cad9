// tests/e2e/command.hpp - runs a program as a user does and keeps what it said.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace nemo::e2e {

// How a process ended.
struct Finished {
  int exit_code = -1;  // -1: ended by `signal`
  int signal = 0;
  bool timed_out = false;  // killed by wait()
  std::string out, err;
  int64_t peak_rss_kib = 0;
  double milliseconds = 0;
};

struct Command {
  std::vector<std::string> arguments;  // [0] is the program's path
  std::filesystem::path folder;        // working folder
  std::map<std::string, std::string> environment{};
  std::optional<uint64_t> file_size_limit{};  // bytes that it may write to one file
};

// A child process; killed if still there when destroyed. [one thread]
class Process {
 public:
  explicit Process(const Command& command);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // No effect on a process that has ended.
  void send(int signal);
  [[nodiscard]] bool has_ended();
  // Reads its output to the end; kills it after the timeout.
  Finished wait(double timeout_seconds = 120);

 private:
  void read_until_closed(double timeout_seconds);
  void reap(int options);
  pid_t pid_ = -1;
  bool ended_ = false;
  int out_ = -1, err_ = -1;
  double started_ms_ = 0;
  Finished result_;
};

inline Finished run(const Command& command) { return Process(command).wait(); }

}  // namespace nemo::e2e

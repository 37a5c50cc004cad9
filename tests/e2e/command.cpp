#include "tests/e2e/command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <system_error>

namespace nemo::e2e {
namespace {

double now_ms() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Between fork and exec: only what POSIX allows there, and setenv on the child's own copy.
[[noreturn]] void become(const Command& command, int out, int err, char** argv) {
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  ::unsetenv("NEMO_PLUGIN_PATH");
  for (const auto& [name, value] : command.environment) ::setenv(name.c_str(), value.c_str(), 1);
  if (command.file_size_limit) {
    const rlimit limit{*command.file_size_limit, *command.file_size_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (::chdir(command.folder.c_str()) == 0) ::execv(argv[0], argv);
  ::_exit(127);
}

// True if the other end is closed.
bool take(int fd, std::string& text) {
  char buffer[4096];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n < 0 && errno == EINTR) return false;
  if (n <= 0) return true;
  text.append(buffer, static_cast<size_t>(n));
  return false;
}

}  // namespace

Process::Process(const Command& command) : started_ms_(now_ms()) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  std::vector<char*> argv;
  for (const std::string& a : command.arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) become(command, out[1], err[1], argv.data());
  ::close(out[1]);
  ::close(err[1]);
  out_ = out[0], err_ = err[0];
}

Process::~Process() {
  send(SIGKILL);
  if (!ended_) reap(0);
  ::close(out_);
  ::close(err_);
}

void Process::send(int signal) {
  if (!has_ended()) ::kill(pid_, signal);
}

bool Process::has_ended() {
  if (!ended_) reap(WNOHANG);
  return ended_;
}

void Process::reap(int options) {
  int status = 0;
  rusage usage{};
  pid_t done = 0;
  while ((done = ::wait4(pid_, &status, options, &usage)) < 0 && errno == EINTR) continue;
  if (done != pid_) return;
  ended_ = true;
  result_.milliseconds = now_ms() - started_ms_;
  result_.peak_rss_kib = usage.ru_maxrss;
  if (WIFEXITED(status)) result_.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result_.signal = WTERMSIG(status);
}

void Process::read_until_closed(double timeout_seconds) {
  pollfd ends[] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
  std::string* texts[] = {&result_.out, &result_.err};
  const double deadline = now_ms() + timeout_seconds * 1e3;
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    const double left = deadline - now_ms();
    if (left <= 0 && !result_.timed_out) {
      result_.timed_out = true;
      send(SIGKILL);
    }
    if (::poll(ends, 2, left > 0 ? static_cast<int>(left) + 1 : 100) <= 0) continue;
    for (int i = 0; i < 2; ++i)
      if (ends[i].fd >= 0 && ends[i].revents != 0 && take(ends[i].fd, *texts[i])) ends[i].fd = -1;
  }
}

Finished Process::wait(double timeout_seconds) {
  read_until_closed(timeout_seconds);
  if (!ended_) reap(0);
  return result_;
}

}  // namespace nemo::e2e

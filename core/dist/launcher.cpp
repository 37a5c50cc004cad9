#include "core/dist/launcher.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <thread>

#include "core/base/error.hpp"
#include "core/dist/socket.hpp"

extern char** environ;

namespace nemo::dist {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(10);
constexpr auto kGrace = std::chrono::seconds(4);  // between the first failure and SIGKILL for the others
constexpr int kInterruptedCode = 130;

// The environment of one rank: the parent's, with the words of this run instead of any that were there.
std::vector<std::string> environment_of(const LaunchPlan& plan, int64_t local, uint16_t port, int store_fd) {
  const int64_t first = plan.node ? plan.node->rank * plan.devices : 0;
  const std::vector<std::pair<std::string, std::string>> words{
      {"RANK", std::to_string(first + local)},
      {"WORLD_SIZE", std::to_string(plan.devices * plan.nodes)},
      {"LOCAL_RANK", std::to_string(local)},
      {"LOCAL_WORLD_SIZE", std::to_string(plan.devices)},
      {"MASTER_ADDR", plan.node ? plan.node->master_addr : "127.0.0.1"},
      {"MASTER_PORT", std::to_string(port)},
      {"NEMO_LAUNCHER", std::to_string(getpid())},
      {"NEMO_STORE_FD", store_fd >= 0 ? std::to_string(store_fd) : ""},
  };
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry(*e);
    const std::string_view name = entry.substr(0, entry.find('='));
    bool ours = false;
    for (const auto& [word, value] : words) ours = ours || word == name;
    if (!ours) out.emplace_back(entry);
  }
  for (const auto& [word, value] : words)
    if (!value.empty()) out.push_back(word + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (std::string& t : texts) out.push_back(t.data());
  out.push_back(nullptr);
  return out;
}

pid_t start_rank(std::vector<std::string> arguments, std::vector<std::string> environment) {
  const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
  const pid_t parent = getpid(), pid = fork();
  if (pid < 0) throw Error(Code::kInternal, std::string("cannot start a rank: ") + std::strerror(errno));
  if (pid > 0) return pid;
  setpgid(0, 0);  // the terminal's interrupt reaches the launcher, which passes it on once
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  execve("/proc/self/exe", argv.data(), envp.data());
  _exit(127);
}

class Ranks {
 public:
  Ranks(const LaunchPlan& plan, const std::function<void(const std::string&)>& error)
      : first_(plan.node ? plan.node->rank * plan.devices : 0), error_(error) {
    const bool serves = first_ == 0;
    Socket listener;
    if (serves && plan.node) listener = listen_on(plan.node->master_port, Reach::kAll, true);
    if (serves && !plan.node) listener = listen_on(0, Reach::kLoopback, true);
    const uint16_t port = plan.node ? plan.node->master_port : port_of(listener);
    std::vector<std::string> arguments{"nemo-host"};
    arguments.insert(arguments.end(), plan.arguments.begin(), plan.arguments.end());
    for (int64_t local = 0; local < plan.devices; ++local) {
      const bool takes = serves && local == 0;
      pids_.push_back(start_rank(arguments, environment_of(plan, local, port, takes ? listener.fd() : -1)));
      if (takes) listener = Socket();
    }
  }

  [[nodiscard]] bool running() const { return left_ > 0 || !started_; }
  [[nodiscard]] const LaunchResult& result() const { return result_; }

  void signal_all(int signal) const {
    for (const pid_t pid : pids_)
      if (pid > 0) kill(pid, signal);
  }

  // Takes note of every rank that has ended.
  void reap() {
    if (!started_) left_ = pids_.size(), started_ = true;
    int status = 0;
    for (pid_t pid = 0; left_ > 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0;)
      for (pid_t& known : pids_)
        if (known == pid) {
          note_end(first_ + (&known - pids_.data()), status);
          known = -1;
          --left_;
        }
    if (!result_.failure.empty() && Clock::now() > kill_at_) signal_all(SIGKILL);
  }

 private:
  void note_end(int64_t rank, int status) {
    const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (!result_.failure.empty()) return;
    if (code == 0 || code == kInterruptedCode) {
      result_.exit_code = std::max(result_.exit_code, code);
      return;
    }
    result_.exit_code = code;
    result_.failure =
        "rank " + std::to_string(rank) +
        (WIFSIGNALED(status) ? " was killed by signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) + ")"
                             : " has failed with exit code " + std::to_string(code));
    kill_at_ = Clock::now() + kGrace;
    error_(result_.failure + "; the other ranks are ended");
  }

  int64_t first_;
  const std::function<void(const std::string&)>& error_;
  std::vector<pid_t> pids_;
  size_t left_ = 0;
  bool started_ = false;
  LaunchResult result_;
  Clock::time_point kill_at_;
};

}  // namespace

LaunchResult launch(const LaunchPlan& plan, const std::atomic<bool>& interrupted, const std::function<void(const std::string&)>& error) {
  Ranks ranks(plan, error);
  bool passed_on = false;
  for (ranks.reap(); ranks.running(); ranks.reap()) {
    if (interrupted.load() && !passed_on) {
      passed_on = true;
      ranks.signal_all(SIGINT);
    }
    std::this_thread::sleep_for(kPoll);
  }
  return ranks.result();
}

}  // namespace nemo::dist

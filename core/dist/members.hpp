// core/dist/members.hpp - what the store knows of each rank: whether it lives and whether it gets on.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "core/dist/socket.hpp"

namespace nemo::dist {

// Not thread-safe: used by the server's thread.
class Members {
 public:
  Members(int64_t world_size, std::chrono::milliseconds watchdog);

  void hello(int64_t rank, Clock::time_point now);
  void bye(int64_t rank);
  void beat(int64_t rank, int64_t progress, const std::string& doing, Clock::time_point now);
  [[nodiscard]] bool is_present(int64_t rank) const;
  [[nodiscard]] bool valid(int64_t rank) const { return rank >= 0 && rank < static_cast<int64_t>(members_.size()); }
  // The text of rank's last beat, for messages.
  [[nodiscard]] std::string doing(int64_t rank) const;
  // Ranks that have not said hello, at most eight of them by name.
  [[nodiscard]] std::string missing() const;
  // Empty, or which rank stalls: one that does not beat, else those with the least progress where nobody has progressed for `watchdog`.
  [[nodiscard]] std::string stalled(Clock::time_point now) const;

 private:
  struct Member {
    bool joined = false, left = false;
    int64_t progress = 0;
    std::string doing;
    Clock::time_point last_beat, last_progress;
  };
  std::vector<Member> members_;
  std::chrono::milliseconds watchdog_;
};

}  // namespace nemo::dist

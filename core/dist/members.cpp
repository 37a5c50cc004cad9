#include "core/dist/members.hpp"

#include <algorithm>

namespace nemo::dist {
namespace {

std::string seconds(std::chrono::nanoseconds d) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(d).count()) + " s";
}

}  // namespace

Members::Members(int64_t world_size, std::chrono::milliseconds watchdog) : members_(static_cast<size_t>(world_size)), watchdog_(watchdog) {}

void Members::hello(int64_t rank, Clock::time_point now) {
  Member& m = members_.at(static_cast<size_t>(rank));
  m.joined = true;
  m.last_beat = m.last_progress = now;
}

void Members::bye(int64_t rank) { members_.at(static_cast<size_t>(rank)).left = true; }

bool Members::is_present(int64_t rank) const {
  const Member& m = members_.at(static_cast<size_t>(rank));
  return m.joined && !m.left;
}

void Members::beat(int64_t rank, int64_t progress, const std::string& doing, Clock::time_point now) {
  Member& m = members_.at(static_cast<size_t>(rank));
  if (progress != m.progress) m.last_progress = now;
  m.last_beat = now;
  m.progress = progress;
  m.doing = doing;
}

std::string Members::doing(int64_t rank) const {
  const std::string& text = members_.at(static_cast<size_t>(rank)).doing;
  return text.empty() ? "" : " (" + text + ")";
}

std::string Members::missing() const {
  std::string list;
  size_t absent = 0;
  for (size_t r = 0; r < members_.size(); ++r) {
    if (members_[r].joined) continue;
    if (++absent <= 8) list += (list.empty() ? "" : ", ") + std::to_string(r);
  }
  return absent > 8 ? list + " and " + std::to_string(absent - 8) + " more" : list;
}

std::string Members::stalled(Clock::time_point now) const {
  if (watchdog_.count() == 0) return {};
  const Member* slowest = nullptr;
  Clock::time_point latest{};
  for (const Member& m : members_) {
    if (!m.joined || m.left) continue;
    const auto rank = std::to_string(&m - members_.data());
    if (now - m.last_beat > watchdog_)
      return "rank " + rank + " does not answer since " + seconds(now - m.last_beat) + (m.doing.empty() ? "" : " (last: " + m.doing + ")");
    latest = std::max(latest, m.last_progress);
    if (slowest == nullptr || m.progress < slowest->progress) slowest = &m;
  }
  if (slowest == nullptr || now - latest <= watchdog_) return {};
  const int64_t behind = slowest->progress;
  std::string ranks;
  for (const Member& m : members_)
    if (m.joined && !m.left && m.progress == behind && ranks.size() < 60)
      ranks += (ranks.empty() ? "" : ", ") + std::to_string(&m - members_.data());
  return "no rank has made progress for " + seconds(now - latest) + "; furthest behind: rank " + ranks + " (" + slowest->doing + ")";
}

}  // namespace nemo::dist

#include "core/planner/streams.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace nemo::planner {
namespace {

constexpr double kMostLoss = 0.95;  // of a collective's time

}  // namespace

void TwoStreams::lose(const std::string& axes, double seconds) {
  if (seconds <= 0) return;
  const auto found = std::find_if(losses_.begin(), losses_.end(), [&](const Loss& loss) { return loss.axes == axes; });
  if (found == losses_.end())
    losses_.push_back({axes, seconds});
  else
    found->seconds += seconds;
}

// At full speed up to the next message, slower during one.
void TwoStreams::compute(double seconds) {
  while (seconds > 0) {
    double loss = 0, until = std::numeric_limits<double>::infinity();
    std::array<const Message*, 3> busy{};
    for (size_t s = 0; s < streams_.size(); ++s) {
      auto& [messages, passed] = streams_[s];
      while (passed < messages.size() && messages[passed].end <= now_) ++passed;
      if (passed == messages.size()) continue;
      const Message& m = messages[passed];
      if (m.start <= now_) busy[s] = &m, loss += m.loss;
      until = std::min(until, m.start <= now_ ? m.end : m.start);
    }
    const double rate = 1 - std::min(loss, kMostLoss);
    const double span = std::min(seconds / rate, until - now_);
    for (const Message* m : busy)
      if (m != nullptr) lose(m->axes, span * (1 - rate) * m->loss / loss);
    if (span == seconds / rate) {
      now_ += span;
      return;
    }
    now_ = until;
    seconds -= span * rate;
  }
}

void TwoStreams::send(size_t stream, double seconds, const std::string& axes) {
  auto& messages = streams_[stream].messages;
  const double start = messages.empty() ? now_ : std::max(now_, messages.back().end);
  const double loss = seconds > 0 ? std::min(kMostLoss, cost_.fixed / seconds + cost_.share) : 0;
  messages.push_back({start, start + seconds, loss, axes});
}

void TwoStreams::between(double seconds, const std::string& axes) {
  wait(collectives());  // ranks enter collectives in one order
  lose(axes, seconds);
  now_ += seconds;
}

void TwoStreams::wait(size_t stream, size_t count) {
  const auto& [messages, passed] = streams_[stream];
  for (size_t i = passed; i < count; ++i) {
    if (messages[i].end <= now_) continue;
    lose(messages[i].axes, messages[i].end - now_);
    now_ = messages[i].end;
  }
}

void TwoStreams::wait_for_all() {
  for (size_t s = 0; s < streams_.size(); ++s) wait(s, streams_[s].messages.size());
}

std::vector<TwoStreams::Loss> TwoStreams::take_losses() { return std::exchange(losses_, {}); }

}  // namespace nemo::planner

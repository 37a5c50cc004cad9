#include "core/planner/streams.hpp"

#include <algorithm>
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
    while (passed_ < messages_.size() && messages_[passed_].end <= now_) ++passed_;
    if (passed_ == messages_.size()) {
      now_ += seconds;
      return;
    }
    const Message& m = messages_[passed_];
    const bool during = m.start <= now_;
    const double rate = during ? 1 - m.loss : 1;
    const double span = std::min(seconds / rate, (during ? m.end : m.start) - now_);
    if (during) lose(m.axes, span * m.loss);
    now_ += span;
    seconds = span * rate < seconds ? seconds - span * rate : 0;
  }
}

size_t TwoStreams::beside(double seconds, const std::string& axes) {
  const double start = messages_.empty() ? now_ : std::max(now_, messages_.back().end);
  const double loss = seconds > 0 ? std::min(kMostLoss, cost_.fixed / seconds + cost_.share) : 0;
  messages_.push_back({start, start + seconds, loss, axes});
  return messages_.size() - 1;
}

void TwoStreams::between(double seconds, const std::string& axes) {
  wait_for_all();  // ranks enter collectives in one order
  lose(axes, seconds);
  now_ += seconds;
}

void TwoStreams::wait(size_t count) {
  if (count == 0) return;
  for (size_t i = passed_; i < count; ++i) {
    if (messages_[i].end <= now_) continue;
    lose(messages_[i].axes, messages_[i].end - now_);
    now_ = messages_[i].end;
  }
}

std::vector<TwoStreams::Loss> TwoStreams::take_losses() { return std::exchange(losses_, {}); }

}  // namespace nemo::planner

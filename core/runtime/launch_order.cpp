#include "core/runtime/launch_order.hpp"

#include <algorithm>
#include <map>

namespace nemo::runtime {

using Kind = LaunchAction::Kind;

void LaunchOrder::sync(std::vector<LaunchAction>& list, nemo_stream* from, nemo_stream* to) {
  if (from == to) return;
  events_.push_back(device_.make_event());
  list.push_back({Kind::kRecord, events_.size() - 1, from});
  list.push_back({Kind::kWait, events_.size() - 1, to});
}

std::vector<LaunchAction> LaunchOrder::make(const passes::StreamPlan& plan, const std::vector<size_t>& ops,
                                            const std::vector<size_t>& steps, const std::vector<size_t>& beside) {
  const auto in_second = [&](size_t i) { return !plan.stream.empty() && plan.stream[i] == 1; };
  const bool overlaps = std::any_of(ops.begin(), ops.end(), in_second);
  nemo_stream* const second = overlaps || !beside.empty() ? device_.second_stream() : nullptr;
  std::vector<LaunchAction> list;
  std::map<size_t, size_t> recorded;  // the event behind an op of stream 1 that something waits for
  if (overlaps)
    for (const size_t i : ops)
      if (!in_second(i) && plan.wait[i] > 0) recorded[static_cast<size_t>(plan.wait[i]) - 1] = 0;
  size_t step = 0, extra = 0;
  for (const size_t i : ops) {
    if (overlaps && plan.wait[i] != passes::StreamPlan::kNothing) {
      if (in_second(i))
        sync(list, nullptr, second);
      else
        list.push_back({Kind::kWait, recorded.at(static_cast<size_t>(plan.wait[i]) - 1), nullptr});
    }
    if (step < steps.size() && steps[step] == i) list.push_back({Kind::kLaunch, step++, in_second(i) ? second : nullptr});
    if (const auto at = recorded.find(i); in_second(i) && at != recorded.end()) {
      events_.push_back(device_.make_event());
      list.push_back({Kind::kRecord, at->second = events_.size() - 1, second});
    }
    for (bool first = true; extra < beside.size() && beside[extra] <= i; first = false) {
      if (first) sync(list, nullptr, second);
      list.push_back({Kind::kBeside, extra++, second});
    }
  }
  if (!list.empty() && (overlaps || !beside.empty())) sync(list, second, nullptr);
  return list;
}

void LaunchOrder::run(const LaunchAction& action) {
  if (action.kind == Kind::kRecord) device_.record(events_[action.index], action.stream);
  if (action.kind == Kind::kWait) device_.wait(events_[action.index], action.stream);
}

}  // namespace nemo::runtime

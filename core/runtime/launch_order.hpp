// core/runtime/launch_order.hpp - a launch list in the two streams that a StreamPlan decides, as lines that need no thought when they run.
#pragma once

#include <vector>

#include "core/passes/overlap.hpp"
#include "core/runtime/device.hpp"

namespace nemo::runtime {

// One line.
struct LaunchAction {
  enum class Kind { kLaunch, kBeside, kRecord, kWait } kind;
  size_t index;  // of the step, the addition or the event
  nemo_stream* stream;
};

// Makes lists and the events that they need, which it keeps; lists of one maker never run at the same time.
class LaunchOrder {
 public:
  explicit LaunchOrder(Device& device) : device_(device) {}

  // `ops`: of the list, ascending indices of the plan's graph. `steps`: those of them that launch something, in order; the others' waits
  // hold for what follows. `beside`: ops behind which additions start in the second stream, ascending. What was launched in the second
  // stream is done before what is launched behind the list.
  [[nodiscard]] std::vector<LaunchAction> make(const passes::StreamPlan& plan, const std::vector<size_t>& ops,
                                               const std::vector<size_t>& steps, const std::vector<size_t>& beside);
  // What stream `to` gets from here on waits for what `from` has so far.
  void sync(std::vector<LaunchAction>& list, nemo_stream* from, nemo_stream* to);

  // Runs a kRecord or kWait.
  void run(const LaunchAction& action);

 private:
  Device& device_;
  std::vector<Event> events_;
};

}  // namespace nemo::runtime

// core/planner/network.hpp - groups of ranks on nodes, and how long their messages take.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/passes/plan.hpp"
#include "core/planner/hardware.hpp"

namespace nemo::planner {

// The ranks that differ in some mesh axes alone. Ranks are numbered with the last mesh axis innermost and fill nodes in order.
struct Group {
  int64_t size = 1;
  int64_t per_node = 1;  // of its ranks on one node
  [[nodiscard]] int64_t nodes() const { return size / per_node; }
};
// Names joined by ',' as strategies give groups of several axes.
[[nodiscard]] std::vector<std::string> split_axes(const std::string& axes);
[[nodiscard]] Group group_of(const passes::Plan& plan, const std::vector<std::string>& axes, int64_t devices_per_node);

enum class Message { kAllGather, kReduceScatter, kAllReduce, kAllToAll, kShift };
// Seconds of a collective whose whole tensor (of kAllToAll and kShift, a rank's) has `bytes`: of the slower of the node's inner network and
// the one between nodes, which both work at the same time, and one latency per hop (logarithmic beyond a node).
[[nodiscard]] double message_time(const Hardware& hardware, const Group& group, Message message, double bytes);
// Bytes that each rank sends.
[[nodiscard]] double message_volume(const Group& group, Message message, double bytes);
// From one rank to the next of the group.
[[nodiscard]] double transfer_time(const Hardware& hardware, const Group& group, double bytes);

[[nodiscard]] Message message_of(std::string_view op);

}  // namespace nemo::planner

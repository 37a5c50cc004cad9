#include "core/planner/network.hpp"

#include <algorithm>
#include <cmath>

namespace nemo::planner {
namespace {

constexpr double kSmallCost = 4;  // of a byte sent with its flag (NCCL's LL: half of a line is flags, and lines are stored one by one)

// Small messages do without the pipeline that large ones have to fill.
double seconds(const Hardware::Link& link, double bytes) {
  return std::min((bytes + link.half_size) / link.rate, kSmallCost * bytes / link.rate);
}

double hops(const Group& g) {
  const double inner = static_cast<double>(g.per_node - 1);
  return inner + (g.nodes() > 1 ? std::ceil(std::log2(static_cast<double>(g.nodes()))) : 0);
}

}  // namespace

std::vector<std::string> split_axes(const std::string& axes) {
  std::vector<std::string> out;
  for (size_t at = 0; at < axes.size();) {
    const size_t end = std::min(axes.find(',', at), axes.size());
    out.push_back(axes.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

Group group_of(const passes::Plan& plan, const std::vector<std::string>& axes, int64_t devices_per_node) {
  std::vector<int64_t> offsets{0};
  int64_t stride = 1;
  for (auto axis = plan.mesh.rbegin(); axis != plan.mesh.rend(); ++axis) {
    if (std::find(axes.begin(), axes.end(), axis->name) != axes.end()) {
      const size_t n = offsets.size();
      for (int64_t i = 1; i < axis->size; ++i)
        for (size_t k = 0; k < n; ++k) offsets.push_back(offsets[k] + i * stride);
    }
    stride *= axis->size;
  }
  Group group;
  group.size = static_cast<int64_t>(offsets.size());
  group.per_node = std::count_if(offsets.begin(), offsets.end(), [&](int64_t o) { return o < devices_per_node; });
  return group;
}

Message message_of(std::string_view op) {
  return op == "all_reduce"                                     ? Message::kAllReduce
         : op == "all_gather"                                   ? Message::kAllGather
         : op == "ring_shift"                                   ? Message::kShift
         : op == "all_to_all" || op.starts_with("moe_exchange") ? Message::kAllToAll
                                                                : Message::kReduceScatter;
}

double message_volume(const Group& g, Message message, double bytes) {
  const auto n = static_cast<double>(g.size);
  if (message == Message::kShift) return bytes;
  return bytes * (n - 1) / n * (message == Message::kAllReduce ? 2 : 1);
}

double message_time(const Hardware& h, const Group& g, Message message, double bytes) {
  if (g.size <= 1 || bytes <= 0) return 0;
  if (message == Message::kShift) return transfer_time(h, g, bytes);
  const auto local = static_cast<double>(g.per_node), nodes = static_cast<double>(g.nodes());
  const auto n = static_cast<double>(g.size);
  const double passes = message == Message::kAllReduce ? 2 : 1;
  const double stays = message == Message::kAllToAll ? bytes / nodes : bytes;
  const double inner = local > 1 ? seconds(h.inside, stays * (local - 1) / local) : 0;
  // Every device of a node carries its share of what leaves the node; of what each sends to each, its own.
  const double leaves = bytes * (nodes - 1) / nodes / (message == Message::kAllToAll ? 1 : local);
  const double outer = nodes > 1 ? seconds(h.between, leaves) : 0;
  const double latency = (nodes > 1 ? h.between.latency : h.inside.latency) * hops(g);
  // An all-reduce leaves its part in place once; the others bring it to or from another buffer.
  return passes * (std::max(inner, outer) + latency) + bytes / n / h.copy_rate;
}

double transfer_time(const Hardware& h, const Group& g, double bytes) {
  if (g.size <= 1 || bytes <= 0) return 0;
  const Hardware::Link& link = g.nodes() > 1 ? h.between : h.inside;
  return link.latency + seconds(link, bytes);
}

}  // namespace nemo::planner

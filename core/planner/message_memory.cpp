#include "core/planner/message_memory.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "core/planner/exchange.hpp"
#include "core/planner/network.hpp"
#include "core/runtime/ranks.hpp"

namespace nemo::planner {
namespace {

using Peers = std::set<std::pair<std::string, int64_t>>;  // group and rank in it, or an offset to it

struct Connections {
  Peers sources, targets;
};

// As runtime/pipeline_program.cpp sends: results on one group, gradients on another, sums of shared parameters on the first.
void add_stages(Connections& c, const passes::Plan& plan, const passes::Compiled& program) {
  const passes::Stages& stages = program.stages;
  const std::string forward = plan.pipeline.mesh, backward = runtime::backward_group(plan);
  const int64_t next = (stages.rank + 1) % stages.ranks, before = (stages.rank + stages.ranks - 1) % stages.ranks;
  for (const passes::StageLink& link : stages.receives) {
    c.sources.emplace(forward, before);
    if (link.gradient != 0) c.targets.emplace(backward, before);
  }
  for (const passes::StageLink& link : stages.sends) {
    c.targets.emplace(forward, next);
    if (link.gradient != 0) c.sources.emplace(backward, next);
  }
  for (const passes::SharedParameter& s : stages.shared)
    for (const int64_t other : s.ranks)
      if (program.graph.parameters[s.parameter].trainable && other != stages.rank &&
          (stages.rank == s.ranks.front() || other == s.ranks.front()))
        c.sources.emplace(forward, other), c.targets.emplace(forward, other);
}

// Exchanges in which every rank has something for every other; a ring's are with its neighbours.
void add_exchanges(Connections& c, const passes::Plan& plan, const passes::Compiled& program) {
  for (const graph::Op& op : program.graph.ops) {
    const Message message = message_of(op.name());
    const bool all = message == Message::kAllToAll && op.name() != "moe_exchange_plan", ring = message == Message::kShift;
    if (!all && !ring) continue;
    const std::string axes = op.string_attr("mesh");
    const int64_t n = plan.group_size(axes);
    for (int64_t other = 1; other < n; ++other) {
      if (all || other == n - 1) c.sources.emplace(axes, other);
      if (all || other == 1) c.targets.emplace(axes, other);
    }
  }
}

// One buffer a group, for the largest of its reductions.
int64_t exchange_buffers(const Hardware& h, const passes::Plan& plan, const passes::Compiled& program, graph::DType gradient) {
  constexpr double kLeast = 4 << 20;  // bytes; below, copies are slow to begin
  std::map<std::string, double> room;
  const auto note = [&](const std::string& axes, double bytes) {
    if (bytes < kLeast || bytes > static_cast<double>(h.most_exchanged)) return;
    if (group_of(plan, split_axes(axes), h.devices_per_node).nodes() > 1) return;
    room[axes] = std::max(room[axes], bytes);
  };
  for (const graph::Op& op : program.graph.ops)
    if (op.name() == "reduce_scatter" && op.string_attr("op") != "max") {
      const graph::Value& whole = program.graph.value(op.inputs[0]);
      note(op.string_attr("mesh"), static_cast<double>(graph::element_count(whole.dims) * graph::size_of(whole.dtype)));
    }
  for (const Sum& sum : gradient_sums(program, plan, gradient))
    if (sum.message == Message::kReduceScatter) note(sum.axes, sum.bytes);
  double all = 0;
  for (const auto& [axes, bytes] : room) all += bytes;
  return static_cast<int64_t>(all);
}

}  // namespace

int64_t message_memory(const Hardware& hardware, const passes::Plan& plan, const passes::Compiled& program, graph::DType gradient) {
  const Hardware::MessageMemory& each = hardware.message_memory;
  const auto groups = static_cast<int64_t>(runtime::group_names(plan).size());
  if (groups == 0) return 0;
  int64_t sum = each.library + groups * (each.group + each.collectives) + exchange_buffers(hardware, plan, program, gradient);
  if (program.stages.cut() && program.stages.ranks > 1) sum += each.group;  // of gradients, which has no collectives
  Connections c;
  if (program.stages.cut()) add_stages(c, plan, program);
  add_exchanges(c, plan, program);
  if (!c.sources.empty() || !c.targets.empty()) sum += each.messages;
  return sum + static_cast<int64_t>(c.sources.size()) * each.source + static_cast<int64_t>(c.targets.size()) * each.target;
}

}  // namespace nemo::planner

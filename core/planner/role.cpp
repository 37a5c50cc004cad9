#include "core/planner/role.hpp"

#include <algorithm>

namespace nemo::planner {
namespace {

using graph::Op;
using passes::StagePhase;

class Loader {
 public:
  Loader(const passes::Compiled& compiled, const passes::Plan& plan, const std::string& context, const Hardware& hardware)
      : compiled_(compiled), plan_(plan), context_(context), h_(hardware) {
    const auto chunks = static_cast<size_t>(compiled.stages.chunks());
    load_.chunks.resize(chunks);
    load_.sent_bytes.resize(chunks, 0);
    gathers_.resize(chunks);
    load_.workspace = hardware.gemm_workspace;
  }

  RoleLoad run() {
    const auto& ops = compiled_.graph.ops;
    for (size_t i = 0; i < ops.size(); ++i)
      if (!compiled_.memory.is_view[i]) add(ops[i], chunk_of(i), phase_of(i));
    expose_gathers();
    for (const passes::StageLink& link : compiled_.stages.sends) {
      const graph::Value& v = compiled_.graph.value(link.value);
      load_.sent_bytes[static_cast<size_t>(link.chunk)] += static_cast<double>(graph::element_count(v.dims) * graph::size_of(v.dtype));
    }
    return std::move(load_);
  }

 private:
  [[nodiscard]] size_t chunk_of(size_t op) const { return compiled_.stages.cut() ? static_cast<size_t>(compiled_.phases.chunk[op]) : 0; }
  [[nodiscard]] StagePhase phase_of(size_t op) const {
    if (compiled_.stages.cut()) return compiled_.phases.phase[op];
    return compiled_.graph.ops[op].phase == graph::Phase::kForward ? StagePhase::kForward : StagePhase::kBackward;
  }

  const Group& group(const std::string& axis) {
    const auto [found, fresh] = groups_.try_emplace(axis);
    if (fresh) found->second = group_of(plan_, split_axes(axis), h_.devices_per_node);
    return found->second;
  }

  void add(const Op& op, size_t chunk, StagePhase phase) {
    const ops::Work work = ops::work_of(compiled_.graph, op);
    PhaseLoad& load = load_.chunks[chunk][static_cast<size_t>(phase)];
    load_.workspace = std::max(load_.workspace, work.workspace + h_.gemm_workspace);
    if (work.is_collective()) return add_collective(op, work, chunk, phase);
    const double seconds = compute_time(h_, work);
    if (op.once_per_step) {
      load_.once += seconds;
      return;
    }
    load.compute += seconds;
    if (work.attention_flops > 0) load.attention += seconds;
    for (const ops::Product& p : work.products) {
      load.products += product_time(h_, p);
      load.ideal_products += 2 * p.m * p.n * p.k * p.count / h_.product_rate.at(p.dtype);
    }
  }

  void add_collective(const Op& op, const ops::Work& work, size_t chunk, StagePhase phase) {
    const Group& g = group(work.mesh);
    const Message message = message_of(op.name());
    const double seconds = message_time(h_, g, message, work.message_bytes);
    AxisLoad& axis = load_.axes[work.mesh];
    axis.bytes += message_volume(g, message, work.message_bytes);
    axis.seconds += seconds;
    if (plan_.zero_stage() > 1 && work.mesh == plan_.zero_axis()) {
      gathers_[chunk][static_cast<size_t>(phase)] += seconds;
      return;
    }
    charge(axis, load_.chunks[chunk][static_cast<size_t>(phase)], seconds,
           seconds * (1 - (work.mesh == context_ ? h_.hidden_context : h_.hidden_tensor)));
  }

  // What is hidden takes multiprocessors from the computation that hides it.
  void charge(AxisLoad& axis, PhaseLoad& load, double seconds, double exposed) {
    axis.exposed += exposed, load.exposed += exposed;
    load.compute += (seconds - exposed) * h_.message_multiprocessors / h_.multiprocessors;
  }

  // Parameters of the next block are gathered, and gradients of the last one scattered, while this one computes.
  void expose_gathers() {
    for (size_t c = 0; c < gathers_.size(); ++c)
      for (size_t phase = 0; phase < 3; ++phase) {
        const double seconds = gathers_[c][phase];
        PhaseLoad& load = load_.chunks[c][phase];
        if (seconds > 0)
          charge(load_.axes[plan_.zero_axis()], load, seconds, std::max(seconds * (1 - h_.hidden_data), seconds - load.compute));
      }
  }

  const passes::Compiled& compiled_;
  const passes::Plan& plan_;
  const std::string& context_;
  const Hardware& h_;
  RoleLoad load_;
  std::map<std::string, Group> groups_;
  std::vector<std::array<double, 3>> gathers_;  // seconds, by chunk and phase
};

}  // namespace

RoleLoad load_of(const passes::Compiled& compiled, const passes::Plan& plan, const std::string& context, const Hardware& hardware) {
  return Loader(compiled, plan, context, hardware).run();
}

}  // namespace nemo::planner

#include "core/planner/role.hpp"

#include <algorithm>
#include <numeric>

#include "core/ops/work.hpp"
#include "core/planner/streams.hpp"

namespace nemo::planner {
namespace {

using graph::Op;
using passes::StagePhase;

class Loader {
 public:
  Loader(const passes::Compiled& compiled, const passes::Plan& plan, graph::DType gradient, const Hardware& hardware)
      : compiled_(compiled), plan_(plan), h_(hardware), sums_(gradient_sums(compiled, plan, gradient)) {
    const auto chunks = static_cast<size_t>(compiled.stages.chunks());
    load_.chunks.resize(chunks);
    load_.sent_bytes.resize(chunks, 0);
    load_.workspace = hardware.gemm_workspace;
    if (h_.streams) streams_ = compiled.streams;
  }

  RoleLoad run() {
    const auto& ops = compiled_.graph.ops;
    seconds_.resize(ops.size(), 0);
    axes_.resize(ops.size());
    for (size_t i = 0; i < ops.size(); ++i)
      if (!compiled_.memory.is_view[i]) count(i);
    for (const auto& list : programs()) walk(list, nullptr);
    exchange();
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
  PhaseLoad& phase(size_t op) { return load_.chunks[chunk_of(op)][static_cast<size_t>(phase_of(op))]; }

  const Group& group(const std::string& axis) {
    const auto [found, fresh] = groups_.try_emplace(axis);
    if (fresh) found->second = group_of(plan_, split_axes(axis), h_.devices_per_node);
    return found->second;
  }

  [[nodiscard]] bool in_second(size_t i) const { return !streams_.stream.empty() && streams_.stream[i] == 1; }

  // What op i takes by itself.
  void count(size_t i) {
    const Op& op = compiled_.graph.ops[i];
    const ops::Work work = ops::work_of(compiled_.graph, op);
    if (op.name() == "moe_exchange") {
      const auto rows = [&](graph::ValueId v) { return static_cast<double>(graph::element_count(compiled_.graph.value(v).dims)); };
      load_.room = std::max(load_.room, rows(op.outputs[0]) / rows(op.inputs[0]));
    }
    load_.workspace = std::max(load_.workspace, work.workspace + h_.gemm_workspace);
    if (work.is_collective()) {
      const Group& g = group(work.mesh);
      const Message message = message_of(op.name());
      axes_[i] = work.mesh;
      seconds_[i] = message_time(h_, g, message, work.message_bytes);
      AxisLoad& axis = load_.axes[work.mesh];
      axis.bytes += message_volume(g, message, work.message_bytes);
      axis.seconds += seconds_[i];
      return;
    }
    const double seconds = compute_time(h_, work);
    if (op.once_per_step) {
      load_.once += seconds;
      return;
    }
    seconds_[i] = seconds;
    if (in_second(i)) {  // adds up what a collective of gradients brought
      axes_[i] = plan_.zero_axis();
      return;
    }
    PhaseLoad& load = phase(i);
    load.compute += seconds;
    if (work.attention_flops > 0) load.attention += seconds;
    for (const ops::Product& p : work.products) {
      load.products += product_time(h_, p);
      load.ideal_products += 2 * p.m * p.n * p.k * p.count * p.groups / h_.product_rate.at(p.dtype);
    }
  }

  // Launch lists: the whole program, or one for each chunk and phase of a pipeline.
  [[nodiscard]] std::vector<std::vector<size_t>> programs() const {
    const size_t n = compiled_.graph.ops.size();
    std::vector<std::vector<size_t>> out(compiled_.stages.cut() ? load_.chunks.size() * 3 : 1);
    for (size_t i = 0; i < n; ++i)
      out[compiled_.stages.cut() ? chunk_of(i) * 3 + static_cast<size_t>(compiled_.phases.phase[i]) : 0].push_back(i);
    return out;
  }

  // Runs one launch list in time. Without `sums` what it loses is charged to phases and axes; with them they run beside it behind the ops
  // that make them complete. Returns seconds.
  double walk(const std::vector<size_t>& list, const std::vector<Sum>* sums) {
    TwoStreams time({h_.overlap_fixed, h_.overlap_share});
    std::vector<size_t> issued(compiled_.graph.ops.size() + 1, 0);  // of stream 1, in front of an op
    size_t sum = 0;
    for (const size_t i : list) {
      issued[i] = time.collectives();
      if (in_second(i)) {
        time.beside(seconds_[i], axes_[i]);
      } else {
        if (!streams_.wait.empty() && streams_.wait[i] > 0) time.wait(behind(issued, list, streams_.wait[i]));
        if (axes_[i].empty())
          time.compute(seconds_[i]);
        else
          time.between(seconds_[i], axes_[i]);
      }
      for (; sums != nullptr && sum < sums->size() && (*sums)[sum].ready <= i; ++sum)
        time.beside(seconds_of((*sums)[sum]), (*sums)[sum].axes);
      if (sums == nullptr) charge(time, phase(i));
    }
    time.wait_for_all();
    if (sums == nullptr && !list.empty()) charge(time, phase(list.back()));
    return time.now();
  }

  // Collectives that were issued by ops with an index below `op`.
  [[nodiscard]] size_t behind(const std::vector<size_t>& issued, const std::vector<size_t>& list, int32_t op) const {
    const auto last = std::lower_bound(list.begin(), list.end(), static_cast<size_t>(op));
    if (last == list.begin()) return 0;
    return issued[*(last - 1)] + (in_second(*(last - 1)) ? 1 : 0);
  }

  void charge(TwoStreams& time, PhaseLoad& load) {
    for (const TwoStreams::Loss& loss : time.take_losses()) {
      load.exposed += loss.seconds;
      load_.axes[loss.axes].exposed += loss.seconds;
    }
  }

  double seconds_of(const Sum& sum) { return message_time(h_, group(sum.axes), sum.message, sum.bytes); }

  // Sums of gradients: beside the last micro-batch, or behind it where nothing runs beside it.
  void exchange() {
    double all = 0;
    for (const Sum& sum : sums_) {
      AxisLoad& axis = load_.exchange[sum.axes];
      axis.bytes += message_volume(group(sum.axes), sum.message, sum.bytes);
      axis.seconds += seconds_of(sum);
      all += seconds_of(sum);
    }
    double longer = all;
    if (h_.streams && !compiled_.stages.cut()) {
      std::vector<size_t> list(compiled_.graph.ops.size());
      std::iota(list.begin(), list.end(), size_t{0});
      const std::vector<Sum> none;
      longer = walk(list, &sums_) - walk(list, &none);
    }
    for (auto& [axes, axis] : load_.exchange) axis.exposed = all > 0 ? longer * axis.seconds / all : 0;
  }

  const passes::Compiled& compiled_;
  const passes::Plan& plan_;
  const Hardware& h_;
  const std::vector<Sum> sums_;
  passes::StreamPlan streams_;  // empty: one stream
  RoleLoad load_;
  std::map<std::string, Group> groups_;
  std::vector<double> seconds_;    // by op; 0 for views and what runs once a step
  std::vector<std::string> axes_;  // by op: of collectives
};

}  // namespace

RoleLoad load_of(const passes::Compiled& compiled, const passes::Plan& plan, graph::DType gradient, const Hardware& hardware) {
  return Loader(compiled, plan, gradient, hardware).run();
}

}  // namespace nemo::planner

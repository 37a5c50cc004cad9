#include "core/planner/role.hpp"

#include <algorithm>

#include "core/ops/work.hpp"
#include "core/planner/streams.hpp"

namespace nemo::planner {
namespace {

using graph::Op;
using passes::StagePhase;

class Loader {
 public:
  Loader(const passes::Compiled& compiled, const passes::Plan& plan, graph::DType gradient, const Hardware& hardware,
         const pipeline::Actions& actions)
      : compiled_(compiled), plan_(plan), h_(hardware), actions_(actions), sums_(gradient_sums(compiled, plan, gradient)) {
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
    lists_ = programs();
    for (const auto& list : lists_) {
      TwoStreams time({h_.overlap_fixed, h_.overlap_share});
      walk(time, list, nullptr, true);
    }
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
      seconds_[i] = message_time(h_, g, message, work.message_bytes) + work.bytes / h_.memory_rate;  // packed and unpacked
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
      const double flops = 2 * p.m * p.n * p.k * p.count * p.groups;
      load.ideal_products += flops / h_.product_rate.at(p.dtype);
      load.large_products += flops / product_rate(h_, p);
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

  // Runs one launch list in time. `sums` start beside it behind the ops that make them complete. `charged`: what it loses is charged to
  // phases and axes, and nothing is left running.
  void walk(TwoStreams& time, const std::vector<size_t>& list, const std::vector<Sum>* sums, bool charged) {
    issued_.resize(compiled_.graph.ops.size());  // in stream 1 in front of an op
    size_t sum = 0;
    for (const size_t i : list) {
      issued_[i] = time.collectives();
      if (in_second(i)) {
        time.beside(seconds_[i], axes_[i]);
      } else {
        if (!streams_.wait.empty() && streams_.wait[i] > 0) time.wait(behind(list, streams_.wait[i]));
        if (axes_[i].empty())
          time.compute(seconds_[i]);
        else
          time.between(seconds_[i], axes_[i]);
      }
      for (; sums != nullptr && sum < sums->size() && (*sums)[sum].ready <= i; ++sum)
        time.beside(seconds_of((*sums)[sum]), (*sums)[sum].axes);
      if (charged) charge(time, phase(i));
    }
    if (!charged || list.empty()) return;
    time.wait_for_all();
    charge(time, phase(list.back()));
  }

  // Seconds of the last micro-batch with and without the sums beside it.
  double last_micro_batch(const std::vector<Sum>* sums) {
    TwoStreams time({h_.overlap_fixed, h_.overlap_share});
    walk(time, lists_.front(), sums, false);
    time.wait_for_all();
    return time.now();
  }

  [[nodiscard]] size_t list_of(const pipeline::Action& a) const {
    const StagePhase phase = a.phase == pipeline::Phase::kForward          ? StagePhase::kForward
                             : a.phase == pipeline::Phase::kBackwardWeight ? StagePhase::kBackwardWeight
                                                                           : StagePhase::kBackward;
    return static_cast<size_t>(a.chunk) * 3 + static_cast<size_t>(phase);
  }

  // The same of a pipeline's rank: of the actions behind the first one that completes a range. Idle time in between is not counted.
  double last_actions(const std::vector<Sum>* sums) {
    std::vector<size_t> last(lists_.size(), 0);
    for (size_t position = 0; position < actions_.size(); ++position) last[list_of(actions_[position])] = position;
    std::vector<std::vector<const Sum*>> behind(actions_.size());
    size_t first = actions_.size();
    for (const Sum& sum : sums_) {
      size_t ready = 0;
      for (const size_t op : sum.writers) ready = std::max(ready, last[chunk_of(op) * 3 + static_cast<size_t>(compiled_.phases.phase[op])]);
      behind[ready].push_back(&sum);
      first = std::min(first, ready);
    }
    TwoStreams time({h_.overlap_fixed, h_.overlap_share});
    for (size_t position = first; position < actions_.size(); ++position) {
      if (position > first) walk(time, lists_[list_of(actions_[position])], nullptr, false);
      for (const Sum* sum : behind[position])
        if (sums != nullptr) time.apart(seconds_of(*sum), sum->axes);
    }
    time.wait_for_all();
    return time.now();
  }

  // Collectives that were issued by ops with an index below `op`.
  [[nodiscard]] size_t behind(const std::vector<size_t>& list, int32_t op) const {
    const auto last = std::lower_bound(list.begin(), list.end(), static_cast<size_t>(op));
    if (last == list.begin()) return 0;
    return issued_[*(last - 1)] + (in_second(*(last - 1)) ? 1 : 0);
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
    if (h_.streams && !compiled_.stages.cut()) longer = last_micro_batch(&sums_) - last_micro_batch(nullptr);
    if (h_.streams && compiled_.stages.cut() && !actions_.empty()) longer = last_actions(&sums_) - last_actions(nullptr);
    for (auto& [axes, axis] : load_.exchange) axis.exposed = all > 0 ? longer * axis.seconds / all : 0;
  }

  const passes::Compiled& compiled_;
  const passes::Plan& plan_;
  const Hardware& h_;
  const pipeline::Actions& actions_;
  const std::vector<Sum> sums_;
  std::vector<std::vector<size_t>> lists_;  // launch lists, as programs() makes them
  passes::StreamPlan streams_;              // empty: one stream
  RoleLoad load_;
  std::map<std::string, Group> groups_;
  std::vector<double> seconds_;    // by op; 0 for views and what runs once a step
  std::vector<std::string> axes_;  // by op: of collectives
  std::vector<size_t> issued_;     // by op: collectives in front of it, in the walk at hand
};

}  // namespace

RoleLoad load_of(const passes::Compiled& compiled, const passes::Plan& plan, graph::DType gradient, const Hardware& hardware,
                 const pipeline::Actions& actions) {
  return Loader(compiled, plan, gradient, hardware, actions).run();
}

}  // namespace nemo::planner

#include "core/runtime/program.hpp"

#include <algorithm>
#include <numeric>

#include "core/base/error.hpp"

namespace nemo::runtime {

using graph::ValueId;
using passes::Region;

// Slices and joins that had to become copies are columns of a matrix: [rows, columns].
TensorSpec tensor_spec(const passes::Compiled& compiled, const graph::Op& op, ValueId value) {
  if (value == 0) return {};
  const graph::Value& v = compiled.graph.value(value);
  TensorSpec s{v.dtype, {}, compiled.memory.placements[value].strides};
  for (const graph::Dim& d : v.dims) s.shape.push_back(d.size);
  if (op.name() != "slice" && op.name() != "concat") return s;
  const ValueId whole = op.name() == "slice" ? op.inputs[0] : op.outputs[0];
  const size_t lead = compiled.graph.value(whole).dims.size() - 1;
  if (s.shape.size() <= lead + 1) return s;
  int64_t columns = 1;
  for (size_t d = lead; d < s.shape.size(); ++d) columns *= s.shape[d];
  s.shape.resize(lead);
  s.shape.push_back(columns);
  s.strides.resize(lead);
  s.strides.push_back(1);
  return s;
}

int64_t vocabulary_of(const graph::Graph& g) {
  int64_t rows = std::numeric_limits<int64_t>::max();
  for (const graph::Op& op : g.ops) {
    if (op.name() != "embedding") continue;
    const graph::Value& read = g.value(op.inputs[0]);
    if ((read.home == 0 ? read : g.value(read.home)).name != "tokens") continue;
    const graph::Value& table = g.value(op.inputs[1]);  // of this rank, or a copy of it
    const graph::Dims& whole = table.members.empty() ? table.dims : g.parameters[table.members[0]].global_dims;
    rows = std::min(rows, whole[0].size);
  }
  return rows;
}

bool writes_kept_gradient(const graph::Graph& g, ValueId v) {
  return g.value(v).kind == graph::ValueKind::kGradient && g.value(v).home == 0;
}

Program::Program(Device& device, const passes::Compiled& compiled) : device_(device), compiled_(compiled), order_(device) {
  const graph::Graph& g = compiled.graph;
  size_t pointers = 0;
  for (size_t i = 0; i < g.ops.size(); ++i) {
    if (compiled.memory.is_view[i]) continue;
    const graph::Op& op = g.ops[i];
    std::vector<TensorSpec> inputs, outputs;
    for (const ValueId v : op.inputs) inputs.push_back(tensor_spec(compiled, op, v));
    for (const ValueId v : op.outputs) outputs.push_back(tensor_spec(compiled, op, v));
    graph::Attrs attrs = op.attrs;
    if (!compiled.streams.beside.empty() && compiled.streams.beside[i]) attrs["beside"] = int64_t{1};
    PreparedKernel prepared = device.prepare(op.name(), op.scope, inputs, outputs, attrs);
    const bool second = !compiled.streams.stream.empty() && compiled.streams.stream[i] == 1;
    int64_t& workspace = second ? second_workspace_bytes_ : first_workspace_bytes_;
    workspace = std::max(workspace, (prepared.workspace_bytes + 255) / 256 * 256);
    const auto is_gradient = [&](ValueId v) { return writes_kept_gradient(g, v); };
    steps_.push_back({std::move(prepared), i, pointers, op.once_per_step, std::any_of(op.outputs.begin(), op.outputs.end(), is_gradient)});
    pointers += op.inputs.size() + op.outputs.size();
  }
  pointers_.resize(pointers, nullptr);
  actions_[static_cast<size_t>(Last::kNo)] = list_actions({});
  set_beside({});  // the last micro-batch is as the others until something is to run beside it
  vocabulary_ = vocabulary_of(g);
}

std::byte* Bases::address(const passes::Placement& p, std::byte* slot) const {
  std::byte* const base = p.region == Region::kArena        ? arena
                          : p.region == Region::kParameters ? parameters
                          : p.region == Region::kGradients  ? gradients
                          : p.region == Region::kInputs     ? inputs
                          : p.region == Region::kState      ? state
                          : p.region == Region::kSlot       ? slot
                                                            : nullptr;
  if (p.region == Region::kNone || (p.region == Region::kSlot && slot == nullptr))
    throw Error(Code::kInternal, "a value of a program has no memory");
  return base + p.offset;
}

std::byte* Program::address(ValueId value) const { return bases_.address(compiled_.memory.placements[value]); }

void Program::bind(const Bases& bases) {
  bases_ = bases;
  launches_.clear();
  recordings_ = {};
  for (const Step& step : steps_) {
    const graph::Op& op = compiled_.graph.ops[step.op];
    void** at = pointers_.data() + step.first_pointer;
    nemo_launch launch{};
    launch.struct_size = sizeof launch;
    launch.inputs = at;
    for (const ValueId v : op.inputs) *at++ = v == 0 ? nullptr : address(v);
    launch.outputs = at;
    for (const ValueId v : op.outputs) *at++ = v == 0 ? nullptr : address(v);
    const bool second = !compiled_.streams.stream.empty() && compiled_.streams.stream[step.op] == 1;
    launch.workspace = second ? bases.workspace + first_workspace_bytes_ : bases.workspace;
    launches_.push_back(launch);
  }
}

std::vector<LaunchAction> Program::list_actions(const std::vector<Beside>& beside) {
  std::vector<size_t> ops(compiled_.graph.ops.size()), steps, after;
  std::iota(ops.begin(), ops.end(), size_t{0});
  for (const Step& step : steps_) steps.push_back(step.op);
  for (const Beside& addition : beside) after.push_back(addition.after_op);
  return order_.make(compiled_.streams, ops, steps, after);
}

void Program::set_beside(std::vector<Beside> list) {
  beside_ = std::move(list);
  actions_[static_cast<size_t>(Last::kYes)] = list_actions(beside_);
}

void Program::launch_step(size_t step, uint32_t flags) {
  if (flags != 0 && steps_[step].once_per_step) return;
  launches_[step].flags = steps_[step].writes_gradients ? flags : 0;
  device_.launch(steps_[step].prepared.kernel.get(), launches_[step]);
}

void Program::launch_all(const std::vector<LaunchAction>& actions, uint32_t flags) {
  for (const LaunchAction& a : actions) {
    switch (a.kind) {
      case LaunchAction::Kind::kLaunch:
        launches_[a.index].stream = a.stream;
        launch_step(a.index, flags);
        break;
      case LaunchAction::Kind::kBeside:
        beside_[a.index].launch(a.stream);
        break;
      case LaunchAction::Kind::kRecord:
      case LaunchAction::Kind::kWait:
        order_.run(a);
        break;
    }
  }
}

void Program::run(Gradients gradients, Last last) {
  const uint32_t flags = gradients == Gradients::kAccumulate ? NEMO_LAUNCH_ACCUMULATE : 0;
  const std::vector<LaunchAction>& actions = actions_[static_cast<size_t>(last)];
  Recording& recording = recordings_[static_cast<size_t>(gradients) * 2 + static_cast<size_t>(last)];
  if (!device_.can_capture() || !recording.warm) {
    recording.warm = true;
    return launch_all(actions, flags);
  }
  if (!recording.capture) recording.capture = device_.capture([&] { launch_all(actions, flags); });
  device_.replay(recording.capture);
}

void Program::run_observed(Gradients gradients, const std::function<void(const graph::Op&, const std::function<void()>&)>& each) {
  const uint32_t flags = gradients == Gradients::kAccumulate ? NEMO_LAUNCH_ACCUMULATE : 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (flags != 0 && steps_[i].once_per_step) continue;
    launches_[i].stream = nullptr;
    each(compiled_.graph.ops[steps_[i].op], [&] { launch_step(i, flags); });
  }
}

std::vector<Program::Span> Program::run_timed(Gradients gradients, Last last) {
  const uint32_t flags = gradients == Gradients::kAccumulate ? NEMO_LAUNCH_ACCUMULATE : 0;
  Mark start = device_.make_mark();
  std::vector<Span> spans;
  std::vector<std::pair<Mark, Mark>> marks;
  device_.record(start);
  for (const LaunchAction& a : actions_[static_cast<size_t>(last)]) {
    const bool computes = a.kind == LaunchAction::Kind::kLaunch, adds = a.kind == LaunchAction::Kind::kBeside;
    const bool skipped = computes && flags != 0 && steps_[a.index].once_per_step;
    if ((!computes && !adds) || skipped) {
      launch_all({a}, flags);
      continue;
    }
    spans.push_back({computes ? &compiled_.graph.ops[steps_[a.index].op] : nullptr, a.stream != nullptr, 0, 0});
    auto& [begin, end] = marks.emplace_back(device_.make_mark(), device_.make_mark());
    device_.record(begin, a.stream);
    launch_all({a}, flags);
    device_.record(end, a.stream);
  }
  device_.synchronize();
  for (size_t i = 0; i < spans.size(); ++i)
    spans[i].begin = device_.elapsed(start, marks[i].first), spans[i].end = device_.elapsed(start, marks[i].second);
  return spans;
}

std::byte* Program::input(std::string_view name) const {
  const ValueId v = compiled_.graph.find_input(name);
  return v == 0 ? nullptr : address(v);
}

std::byte* Program::output(std::string_view name) const {
  const ValueId v = compiled_.graph.find_output(name);
  return v == 0 ? nullptr : address(v);
}

}  // namespace nemo::runtime

#include "core/runtime/pipeline_program.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace nemo::runtime {

using graph::ValueId;
using passes::StageLink;
using passes::StagePhase;

namespace {

enum Direction : size_t { kForward, kBackward };

}  // namespace

PipelineProgram::PipelineProgram(Device& device, const passes::Compiled& compiled, const Ranks& ranks, pipeline::Actions actions)
    : device_(device),
      compiled_(compiled),
      actions_(std::move(actions)),
      forward_group_(ranks.plan().pipeline.mesh),
      backward_group_(backward_group(ranks.plan())),
      rank_(compiled.stages.rank),
      ranks_(compiled.stages.ranks),
      chunks_(static_cast<size_t>(compiled.stages.chunks())),
      order_(device),
      vocabulary_(vocabulary_of(compiled.graph)) {
  for (const int64_t bytes : pipeline::fit_slots(actions_, compiled.memory.slot_bytes)) {
    slot_at_.push_back(slots_bytes_);
    slots_bytes_ += bytes;
  }
  pending_.resize(slot_at_.size());
  const graph::Graph& g = compiled.graph;
  for (ValueId v = 1; v < g.values.size(); ++v)
    if (const auto& value = g.value(v); value.kind == graph::ValueKind::kInput && compiled.phases.value_chunk[v] >= 0)
      chunks_[static_cast<size_t>(compiled.phases.value_chunk[v])].fields.emplace_back(value.name, v);
  prepare_steps();
  prepare_messages();
  prepare_shared(ranks);
}

void PipelineProgram::prepare_steps() {
  const graph::Graph& g = compiled_.graph;
  for (size_t i = 0; i < g.ops.size(); ++i) {
    Phase& phase = chunks_[static_cast<size_t>(compiled_.phases.chunk[i])].phases[static_cast<size_t>(compiled_.phases.phase[i])];
    phase.ops.push_back(i);
    if (compiled_.memory.is_view[i]) continue;
    const graph::Op& op = g.ops[i];
    std::vector<TensorSpec> inputs, outputs;
    for (const ValueId v : op.inputs) inputs.push_back(tensor_spec(compiled_, op, v));
    for (const ValueId v : op.outputs) outputs.push_back(tensor_spec(compiled_, op, v));
    PreparedKernel prepared = device_.prepare(op.name(), op.scope, inputs, outputs, op.attrs);
    int64_t& workspace = compiled_.streams.stream[i] == 1 ? second_workspace_bytes_ : first_workspace_bytes_;
    workspace = std::max(workspace, (prepared.workspace_bytes + 255) / 256 * 256);
    const bool gradients = std::any_of(op.outputs.begin(), op.outputs.end(), [&](ValueId v) { return writes_kept_gradient(g, v); });
    phase.steps.push_back({std::move(prepared), i, op.once_per_step, gradients});
  }
  for (Chunk& chunk : chunks_)
    for (Phase& phase : chunk.phases) {
      std::vector<size_t> steps;
      for (const Step& step : phase.steps) steps.push_back(step.op);
      phase.order = order_.make(compiled_.streams, phase.ops, steps, {});
    }
}

TensorSpec PipelineProgram::flat(ValueId value) const {
  const graph::Value& v = compiled_.graph.value(value);
  return {v.dtype, {graph::element_count(v.dims)}, {}};
}

PreparedKernel PipelineProgram::message(std::string_view op, const std::string& group, int64_t offset, const TensorSpec& spec) {
  const TensorSpec token{spec.dtype, {}, {}};
  graph::Attrs attrs{{"mesh", group}, {"offset", offset}};
  if (op == "recv") attrs["shape"] = spec.shape;
  PreparedKernel kernel =
      op == "send" ? device_.prepare(op, "pipeline", {spec}, {token}, attrs) : device_.prepare(op, "pipeline", {token}, {spec}, attrs);
  first_workspace_bytes_ = std::max(first_workspace_bytes_, (kernel.workspace_bytes + 255) / 256 * 256);
  return kernel;
}

void PipelineProgram::prepare_messages() {
  const int64_t next = (rank_ + 1) % ranks_ - rank_, before = (rank_ + ranks_ - 1) % ranks_ - rank_;
  for (const StageLink& link : compiled_.stages.receives) {
    Chunk& chunk = chunks_[static_cast<size_t>(link.chunk)];
    chunk.receive_forward.push_back({message("recv", forward_group_, before, flat(link.value)), link.value});
    if (link.gradient != 0) chunk.send_backward.push_back({message("send", backward_group_, before, flat(link.gradient)), link.gradient});
  }
  for (const StageLink& link : compiled_.stages.sends) {
    Chunk& chunk = chunks_[static_cast<size_t>(link.chunk)];
    chunk.send_forward.push_back({message("send", forward_group_, next, flat(link.value)), link.value});
    if (link.gradient != 0) chunk.receive_backward.push_back({message("recv", backward_group_, next, flat(link.gradient)), link.gradient});
  }
}

// The first of the ranks adds what the others send, in their order, and sends the sum back.
void PipelineProgram::prepare_shared(const Ranks& ranks) {
  if (std::none_of(actions_.begin(), actions_.end(), [](const pipeline::Action& a) { return a.phase != pipeline::Phase::kForward; }))
    return;
  const graph::DType dtype = compiled_.graph.gradient_dtype;
  for (const passes::SharedParameter& s : compiled_.stages.shared) {
    const graph::Parameter& p = compiled_.graph.parameters[s.parameter];
    if (!p.trainable) continue;
    if (!ranks.plan().shard_parameters.empty())
      throw Error(Code::kUnsupported,
                  "parameter '" + p.name + "' is held by several pipeline stages and sharded (ZeRO-3); untie it or use another strategy");
    Shared shared{compiled_.layout.offset[s.parameter], graph::element_count(p.dims), s.ranks, {}, {}, {}};
    const TensorSpec spec{dtype, {shared.elements}, {}};
    for (const int64_t other : s.ranks) {
      if (other == rank_ || (rank_ != s.ranks.front() && other != s.ranks.front())) continue;
      shared.send.push_back(message("send", forward_group_, other - rank_, spec));
      shared.receive.push_back(message("recv", forward_group_, other - rank_, spec));
    }
    shared.add = device_.prepare("accumulate_grad", "pipeline", {spec}, {spec}, {{"accumulate", int64_t{1}}});
    first_workspace_bytes_ = std::max(first_workspace_bytes_, (shared.add.workspace_bytes + 255) / 256 * 256);
    shared_.push_back(std::move(shared));
  }
}

int64_t PipelineProgram::arena_bytes() const {
  return shared_.empty() ? compiled_.memory.arena_bytes : passes::pipeline_arena_bytes(compiled_);
}

std::byte* PipelineProgram::address(ValueId value, int32_t slot) const {
  return bases_.address(compiled_.memory.placements[value], slots_ + slot_at_[static_cast<size_t>(slot)]);
}

void PipelineProgram::bind_phase(Phase& phase) {
  phase.pointers.assign(pending_.size(), {});
  phase.launches.assign(pending_.size(), {});
  for (int32_t slot = 0; slot < static_cast<int32_t>(pending_.size()); ++slot) {
    auto& pointers = phase.pointers[static_cast<size_t>(slot)];
    for (const Step& step : phase.steps) {
      const graph::Op& op = compiled_.graph.ops[step.op];
      for (const auto* list : {&op.inputs, &op.outputs})
        for (const ValueId v : *list) pointers.push_back(v == 0 ? nullptr : address(v, slot));
    }
    void** at = pointers.data();
    for (const Step& step : phase.steps) {
      const graph::Op& op = compiled_.graph.ops[step.op];
      nemo_launch launch{};
      launch.struct_size = sizeof launch;
      launch.inputs = at;
      launch.outputs = at + op.inputs.size();
      launch.workspace = compiled_.streams.stream[step.op] == 1 ? bases_.workspace + first_workspace_bytes_ : bases_.workspace;
      at += op.inputs.size() + op.outputs.size();
      phase.launches[static_cast<size_t>(slot)].push_back(launch);
    }
  }
}

void PipelineProgram::bind(const Bases& bases, std::byte* slots) {
  bases_ = bases;
  slots_ = slots;
  for (Chunk& chunk : chunks_)
    for (Phase& phase : chunk.phases) bind_phase(phase);
  for (auto& sender : senders_) sender = std::make_unique<Sender>();
}

void PipelineProgram::feed(const Chunk& chunk, int32_t slot, int32_t micro_batch, const Calls& calls) {
  const bool reads = std::any_of(chunk.fields.begin(), chunk.fields.end(),
                                 [](const auto& f) { return !f.first.starts_with("recv.") && !f.first.starts_with("grad."); });
  if (!reads) return;
  const auto find = [&](std::string_view name) -> ValueId {
    for (const auto& [field, v] : chunk.fields)
      if (field == name) return v;
    return compiled_.phases.value_chunk.empty() || name != "loss_scale" ? 0 : compiled_.graph.find_input(name);
  };
  const auto to = [&](ValueId v) { return address(v, slot); };
  feed_fields(device_, {compiled_, find, to, vocabulary_}, calls.batch(micro_batch), calls.seed, calls.first_sample(micro_batch),
              calls.loss_scale);
}

void PipelineProgram::receive(const std::vector<Message>& messages, int32_t slot) {
  for (const Message& m : messages) {
    void* output = address(m.value, slot);
    const void* input = nullptr;
    nemo_launch launch{};
    launch.struct_size = sizeof launch;
    launch.inputs = &input;
    launch.outputs = &output;
    launch.workspace = bases_.workspace;
    device_.launch(m.kernel.kernel.get(), launch);
  }
}

void PipelineProgram::send(const std::vector<Message>& messages, int32_t slot, size_t direction) {
  for (const Message& m : messages) {
    const auto work = [this, kernel = m.kernel.kernel.get(), from = address(m.value, slot)] {
      const void* input = from;
      void* output = nullptr;
      nemo_launch launch{};
      launch.struct_size = sizeof launch;
      launch.inputs = &input;
      launch.outputs = &output;
      device_.launch(kernel, launch);
    };
    pending_[static_cast<size_t>(slot)][direction] = senders_[direction]->enqueue(work);
  }
}

void PipelineProgram::launch(Phase& phase, int32_t slot) {
  const uint32_t flags = phase.first ? 0 : NEMO_LAUNCH_ACCUMULATE;
  phase.first = false;
  auto& launches = phase.launches[static_cast<size_t>(slot)];
  for (const LaunchAction& line : phase.order) {
    if (line.kind != LaunchAction::Kind::kLaunch) {
      order_.run(line);
      continue;
    }
    const size_t i = line.index;
    if (flags != 0 && phase.steps[i].once_per_step) continue;
    launches[i].flags = phase.steps[i].writes_gradients ? flags : 0;
    launches[i].stream = line.stream;
    device_.launch(phase.steps[i].prepared.kernel.get(), launches[i]);
  }
}

void PipelineProgram::act(const pipeline::Action& action, const Calls& calls) {
  Chunk& chunk = chunks_[static_cast<size_t>(action.chunk)];
  const auto phase = [&](StagePhase p) -> Phase& { return chunk.phases[static_cast<size_t>(p)]; };
  switch (action.phase) {
    case pipeline::Phase::kForward:
      for (size_t d = 0; d < senders_.size(); ++d) senders_[d]->wait(pending_[static_cast<size_t>(action.slot)][d]);
      receive(chunk.receive_forward, action.slot);
      feed(chunk, action.slot, action.micro_batch, calls);
      launch(phase(StagePhase::kForward), action.slot);
      send(chunk.send_forward, action.slot, kForward);
      if (const ValueId loss = compiled_.graph.find_output("loss"); loss != 0 && action.chunk + 1 == static_cast<int32_t>(chunks_.size()))
        calls.loss(address(loss, action.slot), action.micro_batch);
      break;
    case pipeline::Phase::kBackward:
    case pipeline::Phase::kBackwardInput:
      senders_[kForward]->wait(pending_[static_cast<size_t>(action.slot)][kForward]);  // its gradient takes the memory of what was sent
      receive(chunk.receive_backward, action.slot);
      launch(phase(StagePhase::kBackward), action.slot);
      send(chunk.send_backward, action.slot, kBackward);
      break;
    case pipeline::Phase::kBackwardWeight:
      launch(phase(StagePhase::kBackwardWeight), action.slot);
      break;
  }
}

void PipelineProgram::set_beside(std::vector<Beside> list) {
  beside_ = std::move(list);
  fork_.clear(), join_.clear();
  if (beside_.empty()) return;
  if (aside_ == nullptr) aside_ = device_.make_stream();
  order_.sync(fork_, nullptr, aside_.get());
  order_.sync(join_, aside_.get(), nullptr);
}

size_t PipelineProgram::last_position(size_t op) const {
  const StagePhase phase = compiled_.phases.phase[op];
  for (size_t position = actions_.size(); position-- > 0;) {
    const pipeline::Action& a = actions_[position];
    const StagePhase runs = a.phase == pipeline::Phase::kForward          ? StagePhase::kForward
                            : a.phase == pipeline::Phase::kBackwardWeight ? StagePhase::kBackwardWeight
                                                                          : StagePhase::kBackward;
    if (a.chunk == compiled_.phases.chunk[op] && runs == phase) return position;
  }
  throw Error(Code::kInternal, "no action of the schedule runs op " + std::to_string(op));
}

void PipelineProgram::run(const Calls& calls) {
  for (Chunk& chunk : chunks_)
    for (Phase& phase : chunk.phases) phase.first = true;
  auto next = beside_.begin();
  for (size_t position = 0; position < actions_.size(); ++position) {
    act(actions_[position], calls);
    if (next == beside_.end() || next->position > position) continue;
    for (const LaunchAction& line : fork_) order_.run(line);
    for (; next != beside_.end() && next->position <= position; ++next) next->launch(aside_.get());
  }
  for (const LaunchAction& line : join_) order_.run(line);
  for (auto& sender : senders_) sender->wait_all();
}

void PipelineProgram::sum_shared() {
  const auto move = [&](const PreparedKernel& kernel, const std::byte* from, std::byte* to) {
    const void* input = from;
    void* output = to;
    nemo_launch launch{};
    launch.struct_size = sizeof launch;
    launch.flags = NEMO_LAUNCH_ACCUMULATE;
    launch.inputs = &input;
    launch.outputs = &output;
    launch.workspace = bases_.workspace;
    device_.launch(kernel.kernel.get(), launch);
  };
  for (const Shared& s : shared_) {
    std::byte* own = bases_.gradients + s.offset * graph::size_of(compiled_.graph.gradient_dtype);
    if (rank_ != s.ranks.front()) {
      move(s.send[0], own, nullptr);
      move(s.receive[0], nullptr, own);
      continue;
    }
    for (const PreparedKernel& receive : s.receive) {
      move(receive, nullptr, bases_.arena);
      move(s.add, bases_.arena, own);
    }
    for (const PreparedKernel& send : s.send) move(send, own, nullptr);
  }
}

}  // namespace nemo::runtime

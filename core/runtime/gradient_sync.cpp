#include "core/runtime/gradient_sync.hpp"

#include <algorithm>
#include <utility>

namespace nemo::runtime {

using passes::Segment;
using passes::Unit;

namespace {

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

GradientSync::GradientSync(Device& device, State& state, const Ranks& ranks) : device_(device), state_(state), ranks_(ranks) {
  find_pieces();
  prepare_sums();
  if (ranks.zero_shards() > 1) prepare_shards();
  forked_ = device.make_event();
  joined_ = device.make_event();
  workspace_ = device.allocate(workspace_bytes_, "workspace of collectives");
}

void GradientSync::find_pieces() {
  const passes::FlatLayout& layout = state_.layout();
  for (size_t s = 0; s < layout.segments.size(); ++s) {
    const Segment& segment = layout.segments[s];
    std::vector<std::string> distinct = segment.split;
    for (const std::string& axis : ranks_.axes())
      if (passes::Plan::in_group(ranks_.plan().zero_axis(), axis) || axis == ranks_.plan().pipeline.mesh) distinct.push_back(axis);
    const bool counts = segment.counts && ranks_.counts(distinct);
    for (const Unit& unit : layout.units) {
      const Unit own = state_.own_part(unit);
      const int64_t begin = std::max(segment.begin, own.begin), end = std::min(segment.end, own.end);
      if (begin < end) pieces_.push_back({s, begin, end, counts});
    }
  }
}

// Sums over the axes other than the one that shares state out: neighbouring segments in one call, until they fill a bucket.
void GradientSync::prepare_sums() {
  const auto& segments = state_.layout().segments;
  for (const std::string& axis : ranks_.axes()) {
    if (passes::Plan::in_group(ranks_.plan().zero_axis(), axis)) continue;
    for (size_t s = 0; s < segments.size();) {
      if (!contains(segments[s].partial, axis)) {
        ++s;
        continue;
      }
      const int64_t begin = segments[s].begin;
      int64_t end = segments[s].end;
      for (++s; s < segments.size() && contains(segments[s].partial, axis) && end - begin < ranks_.plan().bucket_elements; ++s)
        end = segments[s].end;
      all_reduce_range(axis, begin, end);
    }
  }
}

// Where gradients are shared out already, only this rank's shard of the range is there.
void GradientSync::all_reduce_range(const std::string& axis, int64_t begin, int64_t end) {
  if (!state_.is_sharded(Role::kGradient)) return add(gradients_, "all_reduce", axis, Role::kGradient, begin, end, begin, end);
  for (const Unit& unit : state_.layout().units) {
    const Unit own = state_.own_part(unit);
    const int64_t from = std::max(begin, own.begin), to = std::min(end, own.end);
    if (from < to) add(gradients_, "all_reduce", axis, Role::kGradient, from, to, from, to);
  }
}

void GradientSync::prepare_shards() {
  const std::string& group = ranks_.plan().zero_axis();
  for (const Unit& unit : state_.layout().units) {
    if (unit.begin >= state_.layout().trainable) continue;
    const Unit own = state_.own_part(unit);
    if (!state_.is_sharded(Role::kGradient))
      add(gradients_, "reduce_scatter", group, Role::kGradient, unit.begin, unit.end, own.begin, own.end);
    if (!state_.is_sharded(Role::kParameter)) add_gather(unit, own);
  }
}

void GradientSync::add_gather(const Unit& unit, const Unit& own) {
  add(parameters_, "all_gather", ranks_.plan().zero_axis(), Role::kParameter, own.begin, own.end, unit.begin, unit.end);
  for (size_t p = 0; p < pieces_.size(); ++p)
    if (pieces_[p].begin < own.end) parameters_.back().behind = std::max(parameters_.back().behind, p);
}

// [begin, end) is read, [to, to_end) is written.
void GradientSync::add(std::vector<Launch>& list, std::string_view op, const std::string& axis, Role role, int64_t begin, int64_t end,
                       int64_t to, int64_t to_end) {
  graph::Attrs attrs{{"mesh", axis}};
  if (op != "all_reduce") attrs["dim"] = int64_t{0};
  const graph::DType dtype = state_.dtype(role);
  Launch l{device_.prepare(op, "end of step", {{dtype, {end - begin}, {}}}, {{dtype, {to_end - to}, {}}}, attrs),
           state_.element(role, begin),
           state_.element(role, to),
           (end - begin) * graph::size_of(dtype),
           0,
           std::string(op)};
  workspace_bytes_ = std::max(workspace_bytes_, l.prepared.workspace_bytes);
  list.push_back(std::move(l));
}

void GradientSync::launch(Launch& l, nemo_stream* stream) {
  const void* const input = l.input;
  nemo_launch raw{};
  raw.struct_size = sizeof raw;
  raw.inputs = &input;
  raw.outputs = &l.output;
  raw.workspace = workspace_.data();
  raw.stream = stream;
  device_.launch(l.prepared.kernel.get(), raw);
}

void GradientSync::overlap_with(Program& program) {
  const passes::Compiled& compiled = program.compiled();
  const graph::Graph& g = compiled.graph;
  std::vector<size_t> ready(gradients_.size(), 0);
  const auto overlaps = [](const Launch& l, const std::byte* at, int64_t bytes) {
    const auto* begin = static_cast<const std::byte*>(l.input);
    return at < begin + l.input_bytes && begin < at + bytes;
  };
  for (size_t i = 0; i < g.ops.size(); ++i)
    for (const graph::ValueId v : g.ops[i].outputs) {
      if (v == 0 || !writes_kept_gradient(g, v)) continue;
      const int64_t bytes = graph::element_count(g.value(v).dims) * graph::size_of(g.value(v).dtype);
      for (size_t k = 0; k < gradients_.size(); ++k)
        if (overlaps(gradients_[k], program.address(v), bytes)) ready[k] = std::max(ready[k], i);
    }
  for (size_t k = 0; k < gradients_.size(); ++k)  // one range may be summed over several axes, one after the other
    for (size_t before = 0; before < k; ++before)
      if (overlaps(gradients_[k], static_cast<const std::byte*>(gradients_[before].input), gradients_[before].input_bytes))
        ready[k] = std::max(ready[k], ready[before]);
  std::vector<Beside> list;
  for (size_t k = 0; k < gradients_.size(); ++k)
    list.push_back({ready[k], [this, k](nemo_stream* stream) { launch(gradients_[k], stream); }});
  std::stable_sort(list.begin(), list.end(), [](const Beside& a, const Beside& b) { return a.after_op < b.after_op; });
  program.set_beside(std::move(list));
}

void GradientSync::overlap_with(PipelineProgram& program) {
  const passes::Compiled& compiled = program.compiled();
  const graph::Graph& g = compiled.graph;
  const auto overlaps = [](const Launch& l, const void* from, int64_t bytes) {
    const auto *begin = static_cast<const std::byte*>(l.input), *at = static_cast<const std::byte*>(from);
    return at < begin + l.input_bytes && begin < at + bytes;
  };
  std::vector<size_t> ready(gradients_.size(), 0);
  early_.assign(gradients_.size(), true);
  for (size_t i = 0; i < g.ops.size(); ++i)
    for (const graph::ValueId v : g.ops[i].outputs) {
      if (v == 0 || !writes_kept_gradient(g, v)) continue;
      const int64_t bytes = graph::element_count(g.value(v).dims) * graph::size_of(g.value(v).dtype);
      for (size_t k = 0; k < gradients_.size(); ++k)
        if (overlaps(gradients_[k], program.gradient(v), bytes)) ready[k] = std::max(ready[k], program.last_position(i));
    }
  const bool sharded = state_.is_sharded(Role::kGradient);
  for (size_t k = 0; k < gradients_.size(); ++k) {
    for (const passes::SharedParameter& s : compiled.stages.shared) {
      const graph::Parameter& p = g.parameters[s.parameter];
      if (!p.trainable) continue;
      early_[k] = early_[k] && !sharded &&
                  !overlaps(gradients_[k], state_.element(Role::kGradient, compiled.layout.offset[s.parameter]),
                            graph::element_count(p.dims) * graph::size_of(state_.dtype(Role::kGradient)));
    }
    for (size_t before = 0; before < k; ++before)  // one range may be summed over several axes, one after the other
      if (overlaps(gradients_[k], gradients_[before].input, gradients_[before].input_bytes)) {
        ready[k] = std::max(ready[k], ready[before]);
        early_[k] = early_[k] && early_[before];
      }
  }
  std::vector<PipelineProgram::Beside> list;
  for (size_t k = 0; k < gradients_.size(); ++k)
    if (early_[k]) list.push_back({ready[k], [this, k](nemo_stream* stream) { launch(gradients_[k], stream); }});
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.position < b.position; });
  program.set_beside(std::move(list));
}

void GradientSync::reduce_gradients() {
  if (std::exchange(reduced_, false)) return;
  for (size_t k = 0; k < gradients_.size(); ++k)
    if (k >= early_.size() || !early_[k]) launch(gradients_[k]);
}

void GradientSync::reduce_totals(std::byte* totals, int64_t count) {
  if (totals_.empty())
    for (const std::string& axis : ranks_.axes())
      totals_.push_back({device_.prepare("all_reduce", "end of step", {{graph::DType::kF64, {count}, {}}},
                                         {{graph::DType::kF64, {count}, {}}}, {{"mesh", axis}}),
                         totals, totals});
  for (Launch& l : totals_) launch(l);
}

void GradientSync::visit(const std::function<void(std::string_view, int64_t, const std::function<void()>&)>& each) {
  for (auto* list : {&gradients_, &parameters_})
    for (Launch& l : *list) each(l.op, l.input_bytes, [this, &l] { launch(l); });
}

// In the order of the list, which is that of the pieces: a gather waits for the pieces of all units before its own too.
void GradientSync::gather_behind(size_t piece) {
  for (bool first = true; gathered_ < parameters_.size() && parameters_[gathered_].behind <= piece; first = false, ++gathered_) {
    nemo_stream* const second = device_.second_stream();
    if (first) device_.record(forked_, nullptr), device_.wait(forked_, second);
    launch(parameters_[gathered_], second);
  }
}

void GradientSync::gather_parameters() {
  if (gathered_ > 0) device_.record(joined_, device_.second_stream()), device_.wait(joined_, nullptr);
  for (; gathered_ < parameters_.size(); ++gathered_) launch(parameters_[gathered_]);
  gathered_ = 0;
}

}  // namespace nemo::runtime

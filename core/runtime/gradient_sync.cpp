#include "core/runtime/gradient_sync.hpp"

#include <algorithm>

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

// Sums over the axes other than the one that shares state out: neighbouring segments in one call.
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
      for (++s; s < segments.size() && contains(segments[s].partial, axis); ++s) end = segments[s].end;
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
    if (!state_.is_sharded(Role::kParameter))
      add(parameters_, "all_gather", group, Role::kParameter, own.begin, own.end, unit.begin, unit.end);
  }
}

// [begin, end) is read, [to, to_end) is written.
void GradientSync::add(std::vector<Launch>& list, std::string_view op, const std::string& axis, Role role, int64_t begin, int64_t end,
                       int64_t to, int64_t to_end) {
  graph::Attrs attrs{{"mesh", axis}};
  if (op != "all_reduce") attrs["dim"] = int64_t{0};
  const graph::DType dtype = state_.dtype(role);
  Launch l{device_.prepare(op, "end of step", {{dtype, {end - begin}, {}}}, {{dtype, {to_end - to}, {}}}, attrs),
           state_.element(role, begin), state_.element(role, to)};
  workspace_bytes_ = std::max(workspace_bytes_, l.prepared.workspace_bytes);
  list.push_back(std::move(l));
}

void GradientSync::launch(Launch& l) {
  const void* const input = l.input;
  nemo_launch raw{};
  raw.struct_size = sizeof raw;
  raw.inputs = &input;
  raw.outputs = &l.output;
  raw.workspace = workspace_.data();
  device_.launch(l.prepared.kernel.get(), raw);
}

void GradientSync::reduce_gradients() {
  for (Launch& l : gradients_) launch(l);
}

void GradientSync::reduce_totals(std::byte* totals, int64_t count) {
  if (totals_.empty())
    for (const std::string& axis : ranks_.axes())
      totals_.push_back({device_.prepare("all_reduce", "end of step", {{graph::DType::kF64, {count}, {}}},
                                         {{graph::DType::kF64, {count}, {}}}, {{"mesh", axis}}),
                         totals, totals});
  for (Launch& l : totals_) launch(l);
}

void GradientSync::gather_parameters() {
  for (Launch& l : parameters_) launch(l);
}

}  // namespace nemo::runtime

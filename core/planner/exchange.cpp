#include "core/planner/exchange.hpp"

#include <algorithm>

namespace nemo::planner {
namespace {

using passes::Plan;
using passes::Segment;
using passes::Unit;

struct Range {
  Sum sum;
  int64_t begin, end;  // elements of the flat layout
};

bool has(const std::vector<std::string>& list, const std::string& word) { return std::find(list.begin(), list.end(), word) != list.end(); }

// Over the axes that do not share state out: neighbouring segments together until they fill a bucket.
void add_all_reduces(std::vector<Range>& out, const std::vector<Segment>& segments, const Plan& plan, double element) {
  const double kept = plan.zero_stage() > 1 ? 1.0 / static_cast<double>(plan.group_size(plan.zero_axis())) : 1.0;
  for (const passes::MeshAxis& axis : plan.mesh) {
    if (axis.size == 1 || Plan::in_group(plan.zero_axis(), axis.name)) continue;
    for (size_t s = 0; s < segments.size();) {
      if (!has(segments[s].partial, axis.name)) {
        ++s;
        continue;
      }
      const int64_t begin = segments[s].begin;
      int64_t end = segments[s].end;
      for (++s; s < segments.size() && has(segments[s].partial, axis.name) && end - begin < plan.bucket_elements; ++s)
        end = segments[s].end;
      out.push_back({{axis.name, Message::kAllReduce, static_cast<double>(end - begin) * element * kept}, begin, end});
    }
  }
}

}  // namespace

std::vector<Sum> gradient_sums(const passes::Compiled& compiled, const Plan& plan, graph::DType gradient) {
  const auto element = static_cast<double>(graph::size_of(gradient));
  std::vector<Range> ranges;
  add_all_reduces(ranges, compiled.layout.segments, plan, element);
  if (plan.zero_stage() == 1 && plan.group_size(plan.zero_axis()) > 1)
    for (const Unit& unit : compiled.layout.units)
      if (unit.begin < compiled.layout.trainable)
        ranges.push_back(
            {{plan.zero_axis(), Message::kReduceScatter, static_cast<double>(unit.end - unit.begin) * element}, unit.begin, unit.end});
  const graph::Graph& g = compiled.graph;
  for (size_t i = 0; i < g.ops.size(); ++i)
    for (const graph::ValueId v : g.ops[i].outputs) {
      if (v == 0 || g.value(v).kind != graph::ValueKind::kGradient || g.value(v).home != 0) continue;
      const int64_t begin = compiled.memory.placements[v].offset / graph::size_of(g.value(v).dtype);
      const int64_t end = begin + graph::element_count(g.value(v).dims);
      for (Range& r : ranges)
        if (begin < r.end && r.begin < end) r.sum.ready = std::max(r.sum.ready, i), r.sum.writers.push_back(i);
    }
  for (size_t k = 0; k < ranges.size(); ++k)
    for (size_t before = 0; before < k; ++before)
      if (ranges[before].begin < ranges[k].end && ranges[k].begin < ranges[before].end) {
        Sum &sum = ranges[k].sum, &earlier = ranges[before].sum;
        sum.ready = std::max(sum.ready, earlier.ready);
        sum.writers.insert(sum.writers.end(), earlier.writers.begin(), earlier.writers.end());
      }
  std::vector<Sum> out;
  for (Range& r : ranges) out.push_back(std::move(r.sum));
  std::stable_sort(out.begin(), out.end(), [](const Sum& a, const Sum& b) { return a.ready < b.ready; });
  return out;
}

std::vector<double> gathered_units(const passes::Compiled& compiled, const Plan& plan) {
  std::vector<double> out;
  if (plan.zero_stage() != 1 || plan.group_size(plan.zero_axis()) == 1) return out;
  for (const Unit& unit : compiled.layout.units)
    if (unit.begin < compiled.layout.trainable) out.push_back(static_cast<double>(unit.end - unit.begin));
  return out;
}

}  // namespace nemo::planner

#include "core/passes/layout.hpp"

#include <algorithm>
#include <tuple>

namespace nemo::passes {

using namespace graph;

namespace {

constexpr int64_t kAlignment = 64;  // elements: 128 bytes or more in every dtype of parameters

int64_t align(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

// Parameters that must touch, in order; most have one member.
struct Unit {
  std::vector<uint32_t> members;
  int32_t block;
  bool trainable, decay;
};

std::vector<Unit> units_of(const Graph& graph) {
  std::vector<int32_t> group(graph.parameters.size(), -1);
  std::vector<Unit> units;
  const auto add = [&](std::vector<uint32_t> members) {
    const Parameter& p = graph.parameters[members[0]];
    for (const uint32_t m : members) group[m] = static_cast<int32_t>(units.size());
    units.push_back({std::move(members), p.block, p.trainable, p.decay});
  };
  for (const Value& v : graph.values)
    if (v.kind == ValueKind::kParameter && v.members.size() > 1) add(v.members);
  for (uint32_t p = 0; p < graph.parameters.size(); ++p)
    if (group[p] < 0) add({p});
  std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
    return std::make_tuple(!a.trainable, a.block, !a.decay, a.members[0]) < std::make_tuple(!b.trainable, b.block, !b.decay, b.members[0]);
  });
  return units;
}

}  // namespace

FlatLayout layout(const Graph& graph) {
  FlatLayout result;
  result.offset.resize(graph.parameters.size());
  int64_t at = 0;
  for (const Unit& unit : units_of(graph)) {
    const int64_t begin = at;
    for (const uint32_t m : unit.members) {
      result.offset[m] = at;
      at += element_count(graph.parameters[m].dims);
    }
    at = align(at);
    if (!unit.trainable) continue;
    result.trainable = at;
    Segment* last = result.segments.empty() ? nullptr : &result.segments.back();
    if (last != nullptr && last->block == unit.block && last->decay == unit.decay)
      last->end = at;
    else
      result.segments.push_back({begin, at, unit.decay, unit.block});
  }
  result.total = at;
  return result;
}

}  // namespace nemo::passes

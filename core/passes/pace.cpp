#include "core/passes/pace.hpp"

#include <algorithm>
#include <cmath>

#include "core/ops/cost.hpp"
#include "core/passes/overlap.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

constexpr double kFlops = 6e14, kBytes = 2.5e12, kLinkBytes = 2.5e11;  // per second
constexpr double kLaunch = 3e-6, kMessage = 1e-5;                      // seconds

double bytes(const Graph& graph, ValueId v) {
  return v == 0 ? 0 : static_cast<double>(element_count(graph.value(v).dims) * size_of(graph.value(v).dtype));
}

// What one rank sends or receives: all but its own part.
double moved_bytes(const Graph& graph, const Op& op) {
  const double in = bytes(graph, op.inputs[0]), out = bytes(graph, op.outputs[0]);
  return in == out ? in : std::abs(in - out);
}

}  // namespace

double rough_seconds(const Graph& graph, const Op& op) {
  if (communicates(op)) return kMessage + moved_bytes(graph, op) / kLinkBytes;
  const ops::Cost cost = ops::cost(graph, op, false);
  return kLaunch + std::max(cost.flops / kFlops, cost.bytes / kBytes);
}

}  // namespace nemo::passes

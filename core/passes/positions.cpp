#include "core/passes/positions.hpp"

#include <vector>

#include "core/base/error.hpp"

namespace nemo::passes {

using graph::Graph;
using graph::Op;

namespace {

std::vector<const Op*> ropes(const Graph& graph) {
  std::vector<const Op*> found;
  for (const Op& op : graph.ops)
    if (op.name() == "rope") found.push_back(&op);
  return found;
}

bool same_positions(const Graph& a, const Graph& b) {
  const auto left = ropes(a), right = ropes(b);
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i)
    if (left[i]->attrs != right[i]->attrs) return false;
  return true;
}

}  // namespace

int64_t first_context(const GraphOfLength& build, int64_t longest) {
  if (longest < 2) return 0;
  const Graph shortest = build(1);
  if (ropes(shortest).empty() || same_positions(shortest, build(longest))) return 0;
  int64_t same = 1, other = longest;  // one change between them
  while (other - same > 1) {
    const int64_t middle = same + (other - same) / 2;
    (same_positions(shortest, build(middle)) ? same : other) = middle;
  }
  return same;
}

void take_positions(Graph& to, const Graph& from) {
  const auto source = ropes(from);
  size_t at = 0;
  for (Op& op : to.ops) {
    if (op.name() != "rope") continue;
    if (at == source.size()) throw Error(Code::kInternal, "graphs of one model have unlike numbers of rotary positions");
    op.attrs = source[at++]->attrs;
  }
  if (at != source.size()) throw Error(Code::kInternal, "graphs of one model have unlike numbers of rotary positions");
}

}  // namespace nemo::passes

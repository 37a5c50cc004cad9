#include "core/passes/schedule.hpp"

#include <set>

namespace nemo::passes {

using namespace graph;

void schedule(Graph& graph) {
  std::set<ValueId> written;
  for (Op& op : graph.ops) {
    op.stream = op.row->attribute("mesh") != nullptr && op.name() != "copy_to" ? 1 : 0;
    for (const ValueId v : op.outputs) {
      if (v == 0 || graph.value(v).kind != ValueKind::kGradient) continue;
      op.attrs["accumulate"] = int64_t{written.insert(v).second ? 0 : 1};
    }
  }
}

}  // namespace nemo::passes

#include "core/passes/stage_streams.hpp"

#include <map>
#include <utility>

namespace nemo::passes {

StreamPlan plan_streams(const graph::Graph& graph, const Phases& phases) {
  std::map<std::pair<int32_t, StagePhase>, std::vector<size_t>> lists;
  for (size_t i = 0; i < graph.ops.size(); ++i) lists[{phases.chunk[i], phases.phase[i]}].push_back(i);
  StreamPlan out;
  out.stream.assign(graph.ops.size(), 0);
  out.wait.assign(graph.ops.size() + 1, StreamPlan::kNothing);
  out.joined.resize(graph.ops.size());
  graph::Graph part = graph;
  for (const auto& [key, list] : lists) {
    part.ops.clear();
    for (const size_t i : list) part.ops.push_back(graph.ops[i]);
    const StreamPlan one = plan_streams(part);
    const auto whole = [&](int32_t at) {  // an index of the list, or the one behind it
      const auto n = static_cast<size_t>(at);
      return static_cast<int32_t>(n < list.size() ? list[n] : list.back() + 1);
    };
    for (size_t k = 0; k < list.size(); ++k) {
      out.stream[list[k]] = one.stream[k];
      if (one.wait[k] > 0) out.wait[list[k]] = whole(one.wait[k] - 1) + 1;  // behind the op before the bound
      if (one.wait[k] == 0) out.wait[list[k]] = 0;
      out.joined[list[k]] = whole(one.joined[k]);
    }
  }
  return out;
}

}  // namespace nemo::passes

#include "core/passes/phases.hpp"

#include <algorithm>
#include <numeric>

namespace nemo::passes {

using namespace graph;

namespace {

class Finder {
 public:
  Finder(const Graph& graph, const Stages& stages) : graph_(graph), stages_(stages), parent_(graph.values.size()) {
    std::iota(parent_.begin(), parent_.end(), ValueId{0});
  }

  Phases run(bool split_weight) {
    for (const Op& op : graph_.ops) {
      ValueId first = 0;
      for (const auto* list : {&op.inputs, &op.outputs})
        for (const ValueId v : *list) {
          if (!own(v)) continue;
          if (first == 0)
            first = v;
          else
            parent_[root(v)] = root(first);
        }
    }
    label();
    Phases out;
    for (ValueId v = 0; v < graph_.values.size(); ++v) out.value_chunk.push_back(own(v) ? chunk_of_root_[root(v)] : -1);
    for (const Op& op : graph_.ops) {
      out.chunk.push_back(chunk_of(op));
      out.phase.push_back(phase_of(op, split_weight));
    }
    return out;
  }

 private:
  [[nodiscard]] bool own(ValueId v) const {
    const Value& value = graph_.value(v);
    return v != 0 && (value.kind == ValueKind::kResult || value.kind == ValueKind::kScratch ||
                      (value.kind == ValueKind::kInput && value.name != "loss_scale"));
  }

  ValueId root(ValueId v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }

  // What is connected with no link lies in the chunk that holds the loss: the last.
  void label() {
    chunk_of_root_.assign(graph_.values.size(), stages_.chunks() - 1);
    for (const auto* links : {&stages_.receives, &stages_.sends})
      for (const StageLink& link : *links) chunk_of_root_[root(link.value)] = link.chunk;
  }

  int32_t chunk_of(const Op& op) {
    for (const auto* list : {&op.inputs, &op.outputs})
      for (const ValueId v : *list)
        if (own(v)) return chunk_of_root_[root(v)];
    return 0;
  }

  [[nodiscard]] StagePhase phase_of(const Op& op, bool split_weight) const {
    if (op.phase == Phase::kForward) return StagePhase::kForward;
    const bool weights = std::all_of(op.outputs.begin(), op.outputs.end(),
                                     [&](ValueId v) { return v == 0 || graph_.value(v).kind == ValueKind::kGradient; });
    return split_weight && weights ? StagePhase::kBackwardWeight : StagePhase::kBackward;
  }

  const Graph& graph_;
  const Stages& stages_;
  std::vector<ValueId> parent_;
  std::vector<int32_t> chunk_of_root_;
};

}  // namespace

Phases find_phases(const Graph& graph, const Stages& stages, bool split_weight) { return Finder(graph, stages).run(split_weight); }

}  // namespace nemo::passes

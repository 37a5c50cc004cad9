#include "core/passes/strands.hpp"

#include <algorithm>
#include <array>

#include "core/passes/overlap.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

constexpr size_t kHalves = 2;

// Counts sequences in its first dimension.
bool carries(const Value& value) { return !value.dims.empty() && value.dims[0].axis == "batch"; }

bool runs_along_batch(const Op& op) {
  for (const char* attr : {"dim", "split_dim", "concat_dim"})
    if (op.row->attribute(attr) != nullptr && op.int_attr(attr) == 0) return true;
  return false;
}

bool mixes_sequences(const Op& op) {
  return op.name() == "dropout" || op.name().starts_with("moe_") || op.name().starts_with("grouped_") || op.once_per_step;
}

class Splitter {
 public:
  explicit Splitter(Graph& graph) : graph_(graph), known_(graph.values.size()) {}

  bool run() {
    if (!can_split()) return false;
    halves_.assign(known_, {0, 0});
    for (ValueId v = 1; v < known_; ++v)
      if (graph_.value(v).kind == ValueKind::kInput && carries(graph_.value(v))) halve_input(v);
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    for (Op& op : ops) {
      if (reads_halves(op))
        halve(op);
      else
        graph_.ops.push_back(std::move(op));
    }
    return true;
  }

 private:
  [[nodiscard]] bool can_split() const {
    std::vector<bool> split(known_, false);
    bool any = false;  // collective between ops of sequences
    for (ValueId v = 1; v < known_; ++v) {
      const Value& value = graph_.value(v);
      split[v] = value.kind == ValueKind::kInput && carries(value);
      if (split[v] && value.dims[0].size % static_cast<int64_t>(kHalves) != 0) return false;
    }
    for (const Op& op : graph_.ops) {
      if (std::none_of(op.inputs.begin(), op.inputs.end(), [&](ValueId v) { return split[v]; })) continue;
      if (mixes_sequences(op) || runs_along_batch(op)) return false;
      any = any || communicates(op) || op.row->attribute("ring") != nullptr;  // a ring is written out later
      if (op.name() == "sum") continue;
      for (const ValueId v : op.outputs) {
        if (v == 0) continue;
        if (!carries(graph_.value(v)) || graph_.value(v).kind != ValueKind::kResult) return false;
        split[v] = true;
      }
    }
    return any && std::none_of(graph_.outputs.begin(), graph_.outputs.end(), [&](const auto& o) { return split[o.second]; });
  }

  [[nodiscard]] bool reads_halves(const Op& op) const {
    return std::any_of(op.inputs.begin(), op.inputs.end(), [&](ValueId v) { return v != 0 && halves_[v][0] != 0; });
  }

  [[nodiscard]] Value half_of(ValueId v) const {
    Value half = graph_.value(v);
    half.dims[0].size /= static_cast<int64_t>(kHalves);
    return half;
  }

  void halve_input(ValueId v) {
    for (size_t h = 0; h < kHalves; ++h) {
      Value half = half_of(v);
      half.name += "#" + std::to_string(h);
      half.home = v;
      half.home_offset = static_cast<int64_t>(h) * element_count(half.dims);
      halves_[v][h] = graph_.add_value(std::move(half));
    }
  }

  void halve(const Op& op) {
    std::vector<ValueId> sums;
    for (size_t h = 0; h < kHalves; ++h) {
      Op half = op;
      for (ValueId& v : half.inputs)
        if (v != 0 && halves_[v][h] != 0) v = halves_[v][h];
      for (ValueId& v : half.outputs) {
        if (v == 0) continue;
        if (op.name() == "sum") {
          Value part = graph_.value(v);
          sums.push_back(v = graph_.add_value(std::move(part)));
        } else {
          v = halves_[v][h] = graph_.add_value(half_of(v));
        }
      }
      graph_.ops.push_back(std::move(half));
    }
    if (sums.empty()) return;
    Op total = make_op(graph_, {"add", sums, {}, {op.outputs[0]}}, op.scope);
    total.block = op.block;
    graph_.ops.push_back(std::move(total));
  }

  Graph& graph_;
  const size_t known_;  // values of the graph as it was
  std::vector<std::array<ValueId, kHalves>> halves_;
};

}  // namespace

bool split_into_strands(Graph& graph) { return Splitter(graph).run(); }

}  // namespace nemo::passes

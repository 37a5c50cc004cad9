#include "core/passes/ring.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace nemo::passes {
namespace {

using graph::Attrs;
using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::ValueId;

// What one chunk of queries attends to in one step.
enum class Seen { kNothing, kFirst, kBoth };

class Ring {
 public:
  Ring(Graph& graph, const Op& op) : graph_(graph), op_(op), ranks_(op.int_attr("ranks")), rank_(op.int_attr("rank")) {}

  void forward() {
    ValueId k = op_.inputs[2], v = op_.inputs[3];
    std::array<std::pair<ValueId, ValueId>, 2> sum{};
    for (int64_t i = 0; i < ranks_; ++i) {
      const auto [next_k, next_v] = ahead(k, v, i);
      for (size_t half = 0; half < 2; ++half) {
        const Seen seen = sees(half, i);
        if (seen == Seen::kNothing) continue;
        const bool last = is_last(half, i), whole = sum[half].first == 0;
        const std::vector<ValueId> result{op_.outputs[2 * half], op_.outputs[2 * half + 1]};
        const std::vector<ValueId> part = emit("attention", {op_.inputs[half], piece(k, seen), piece(v, seen)}, masked(i),
                                               last && whole ? result : like(op_.outputs, 2 * half, 2));
        sum[half] = whole ? std::pair{part[0], part[1]} : join(sum[half], part, last ? result : like(op_.outputs, 2 * half, 2));
      }
      k = next_k, v = next_v;
    }
  }

  void backward() {
    ValueId k = op_.inputs[4], v = op_.inputs[5];
    std::array<ValueId, 2> dq{};
    std::array<ValueId, 2> home{};
    for (int64_t i = 0; i < ranks_; ++i) {
      const auto [next_k, next_v] = ahead(k, v, i);
      // Gradients of what came around so far, from the rank before.
      std::array<ValueId, 2> dkv{i == 0 ? 0 : shift(home[0]), i == 0 ? 0 : shift(home[1])};
      for (size_t half = 0; half < 2; ++half)
        if (const Seen seen = sees(half, i); seen != Seen::kNothing) step_back(half, i, seen, k, v, dq[half], dkv);
      home = dkv;
      k = next_k, v = next_v;
    }
    for (size_t j = 0; j < 2; ++j) emit("ring_shift", {home[j]}, {{"mesh", op_.string_attr("ring")}}, {op_.outputs[2 + j]});
  }

  [[nodiscard]] std::vector<Op> take() { return std::move(made_); }

 private:
  // Whose keys and values are here in step i, seen from a chunk of queries.
  [[nodiscard]] Seen sees(size_t half, int64_t i) const {
    if (op_.int_attr("causal") == 0) return Seen::kBoth;
    if (i == 0) return half == 0 ? Seen::kFirst : Seen::kBoth;
    if ((rank_ - i + ranks_) % ranks_ < rank_) return Seen::kFirst;
    return half == 0 ? Seen::kNothing : Seen::kBoth;
  }

  [[nodiscard]] bool is_last(size_t half, int64_t i) const {
    for (++i; i < ranks_; ++i)
      if (sees(half, i) != Seen::kNothing) return false;
    return true;
  }

  // Only a rank's own keys need a mask; queries are aligned to their end.
  [[nodiscard]] Attrs masked(int64_t i) const {
    Attrs attrs{{"scale", op_.float_attr("scale")}, {"causal", int64_t{i == 0 && op_.int_attr("causal") != 0}}};
    if (const double cap = op_.float_attr("softcap"); cap != 0) attrs["softcap"] = cap;
    return attrs;
  }

  void step_back(size_t half, int64_t i, Seen seen, ValueId k, ValueId v, ValueId& dq, std::array<ValueId, 2>& dkv) {
    const std::array<ValueId, 2> keys{piece(k, seen), piece(v, seen)};
    const bool last = is_last(half, i);
    const ValueId whole_dq = op_.outputs[half];
    std::vector<ValueId> out{dq == 0 && last ? whole_dq : same(whole_dq), same(keys[0]), same(keys[1]), 0, 0};
    const std::vector<ValueId> part = emit(
        "attention_grad", {op_.inputs[half], op_.inputs[2 + half], keys[0], keys[1], op_.inputs[6 + 2 * half], op_.inputs[7 + 2 * half]},
        masked(i), out, {false, false, false, true, true});
    dq = dq == 0 ? part[0] : emit("add", {dq, part[0]}, {}, {last ? whole_dq : same(whole_dq)})[0];
    for (size_t j = 0; j < 2; ++j) {
      const ValueId whole = j == 0 ? k : v;
      ValueId gradient = part[1 + j];
      if (seen == Seen::kFirst) gradient = emit("put_chunks", {gradient}, first_of_two(), {same(whole)})[0];
      dkv[j] = dkv[j] == 0 ? gradient : emit("add", {dkv[j], gradient}, {}, {same(whole)})[0];
    }
  }

  // Keys and values of the next step.
  std::pair<ValueId, ValueId> ahead(ValueId k, ValueId v, int64_t i) {
    if (i + 1 == ranks_) return {0, 0};
    return {shift(k), shift(v)};
  }

  ValueId shift(ValueId value) { return emit("ring_shift", {value}, {{"mesh", op_.string_attr("ring")}}, {same(value)})[0]; }

  static Attrs first_of_two() { return {{"chunks", int64_t{2}}, {"take", std::vector<double>{0}}}; }

  ValueId piece(ValueId value, Seen seen) {
    if (seen == Seen::kBoth) return value;
    for (const auto& [whole, first] : firsts_)
      if (whole == value) return first;
    const ValueId result = same(value);
    graph_.value(result).dims[1].size /= 2;
    firsts_.emplace_back(value, emit("take_chunks", {value}, first_of_two(), {result})[0]);
    return firsts_.back().second;
  }

  std::pair<ValueId, ValueId> join(const std::pair<ValueId, ValueId>& sum, const std::vector<ValueId>& part, std::vector<ValueId> result) {
    const auto out = emit("attention_join", {sum.first, sum.second, part[0], part[1]}, {}, std::move(result));
    return {out[0], out[1]};
  }

  ValueId same(ValueId value) {
    graph::Value made{graph::ValueKind::kResult, "", graph_.value(value).dtype, graph_.value(value).dims, {}};
    return graph_.add_value(std::move(made));
  }

  std::vector<ValueId> like(const std::vector<ValueId>& values, size_t from, size_t n) {
    std::vector<ValueId> made;
    for (size_t i = from; i < from + n; ++i) made.push_back(same(values[i]));
    return made;
  }

  std::vector<ValueId> emit(std::string_view name, std::vector<ValueId> inputs, Attrs attrs, std::vector<ValueId> outputs,
                            std::vector<bool> skip = {}) {
    Op op = graph::make_op(graph_, {name, std::move(inputs), std::move(attrs), std::move(outputs), std::move(skip)}, op_.scope);
    op.block = op_.block;
    op.phase = op_.phase;
    made_.push_back(std::move(op));
    return made_.back().outputs;
  }

  Graph& graph_;
  const Op& op_;
  const int64_t ranks_, rank_;
  std::vector<std::pair<ValueId, ValueId>> firsts_;  // of keys and values, their first chunk
  std::vector<Op> made_;
};

}  // namespace

void expand_rings(Graph& graph) {
  const auto is_ring = [](const Op& op) { return op.name().starts_with("ring_attention"); };
  if (std::none_of(graph.ops.begin(), graph.ops.end(), is_ring)) return;
  std::vector<Op> ops;
  for (Op& op : graph.ops) {
    if (!is_ring(op)) {
      ops.push_back(std::move(op));
      continue;
    }
    Ring ring(graph, op);
    op.name() == "ring_attention" ? ring.forward() : ring.backward();
    for (Op& made : ring.take()) ops.push_back(std::move(made));
  }
  graph.ops = std::move(ops);
}

}  // namespace nemo::passes

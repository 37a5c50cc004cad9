#include "core/passes/group.hpp"

#include <map>

namespace nemo::passes {

using namespace graph;

namespace {

constexpr size_t kMostSiblings = 3;  // as many as concat joins

class Grouper {
 public:
  explicit Grouper(Graph& graph) : graph_(graph), uses_(analyse_uses(graph)) {}

  void run() {
    std::map<ValueId, std::vector<size_t>> by_input;
    for (size_t i = 0; i < graph_.ops.size(); ++i)
      if (eligible(graph_.ops[i])) by_input[graph_.ops[i].inputs[0]].push_back(i);
    for (const auto& [input, candidates] : by_input) {
      std::vector<std::vector<size_t>> kinds;
      for (const size_t i : candidates) kind_of(i, kinds).push_back(i);
      for (const std::vector<size_t>& siblings : kinds)
        if (siblings.size() >= 2 && siblings.size() <= kMostSiblings) groups_[siblings[0]] = siblings;
    }
    rewrite();
  }

 private:
  [[nodiscard]] bool own_parameter(ValueId v) const {
    return graph_.value(v).kind == ValueKind::kParameter && uses_.readers[v].size() == 1;
  }

  [[nodiscard]] bool eligible(const Op& op) const {
    return op.name() == "linear" && own_parameter(op.inputs[1]) && (op.inputs[2] == 0 || own_parameter(op.inputs[2]));
  }

  // The siblings so far that op i can join; a new, empty list if there are none.
  std::vector<size_t>& kind_of(size_t i, std::vector<std::vector<size_t>>& kinds) const {
    for (std::vector<size_t>& siblings : kinds)
      if (alike(graph_.ops[siblings[0]], graph_.ops[i])) return siblings;
    return kinds.emplace_back();
  }

  [[nodiscard]] const Parameter& parameter(ValueId v) const { return graph_.parameters[graph_.value(v).members[0]]; }
  [[nodiscard]] const Parameter& weight(const Op& op) const { return parameter(op.inputs[1]); }

  [[nodiscard]] static bool treated_alike(const Parameter& p, const Parameter& q) {
    return p.trainable == q.trainable && p.decay == q.decay && p.dtype == q.dtype && p.block == q.block &&
           p.gradient_partial == q.gradient_partial;
  }

  [[nodiscard]] bool alike(const Op& a, const Op& b) const {
    if (a.int_attr("contract") != b.int_attr("contract") || (a.inputs[2] == 0) != (b.inputs[2] == 0) || a.block != b.block) return false;
    return treated_alike(weight(a), weight(b)) && (a.inputs[2] == 0 || treated_alike(parameter(a.inputs[2]), parameter(b.inputs[2])));
  }

  // Rows of one weight: the product of its output dimensions.
  [[nodiscard]] int64_t rows(const Op& op) const {
    const Dims& dims = weight(op).dims;
    return element_count(Dims(dims.begin(), dims.end() - op.int_attr("contract")));
  }

  ValueId join_parameters(const std::vector<size_t>& group, size_t input, int64_t total) {
    Value joined = graph_.value(graph_.ops[group[0]].inputs[input]);
    const auto tail = input == 1 ? graph_.ops[group[0]].int_attr("contract") : 0;
    joined.dims.erase(joined.dims.begin(), joined.dims.end() - tail);
    joined.dims.insert(joined.dims.begin(), Dim{total, "fused", {}});
    joined.members.clear();
    joined.name.clear();
    for (const size_t i : group) {
      const Value& member = graph_.value(graph_.ops[i].inputs[input]);
      joined.members.push_back(member.members[0]);
      joined.name += (joined.name.empty() ? "" : "|") + member.name;
    }
    return graph_.add_value(std::move(joined));
  }

  void emit_group(const std::vector<size_t>& group, std::vector<Op>& out) {
    const Op first = graph_.ops[group[0]];
    int64_t total = 0;
    for (const size_t i : group) total += rows(graph_.ops[i]);
    std::vector<ValueId> inputs{first.inputs[0], join_parameters(group, 1, total), 0};
    if (first.inputs[2] != 0) inputs[2] = join_parameters(group, 2, total);
    Op joined = make_op(graph_, {"linear", inputs, first.attrs}, first.scope);
    joined.block = first.block;
    const ValueId y = joined.outputs[0];
    out.push_back(std::move(joined));
    int64_t start = 0;
    for (const size_t i : group) {
      const Op& member = graph_.ops[i];
      const Attrs attrs{{"dim", static_cast<int64_t>(graph_.value(y).dims.size()) - 1}, {"start", start}, {"length", rows(member)}};
      Op view = make_op(graph_, {"slice", {y}, attrs, {member.outputs[0]}}, member.scope);
      view.block = member.block;
      out.push_back(std::move(view));
      start += rows(member);
    }
  }

  void rewrite() {
    std::vector<bool> grouped(graph_.ops.size(), false);
    for (const auto& [first, group] : groups_)
      for (const size_t i : group) grouped[i] = true;
    std::vector<Op> out;
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (const auto group = groups_.find(i); group != groups_.end())
        emit_group(group->second, out);
      else if (!grouped[i])
        out.push_back(graph_.ops[i]);
    }
    graph_.ops = std::move(out);
  }

  Graph& graph_;
  const Uses uses_;
  std::map<size_t, std::vector<size_t>> groups_;
};

}  // namespace

void group(Graph& graph) { Grouper(graph).run(); }

}  // namespace nemo::passes

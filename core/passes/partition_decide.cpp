#include "core/passes/partition_decide.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.hpp"
#include "core/graph/shape.hpp"

namespace nemo::passes {
namespace {

using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::TensorRow;
using graph::ValueId;
using graph::ValueKind;

// Rows where the general rule (a letter only on the left is reduced) is not the truth: query and key-value heads of attention are split
// together, and where keys are not gathered, so are queries and keys.
std::string shared_letter(const Op& op, const std::string& letter, bool keys_stay) {
  if (op.name() != "attention") return letter;
  return letter == "g" ? "h" : letter == "t" && keys_stay ? "s" : letter;
}

// The letter is whole in the row, but partition has a split form of the op.
bool has_split_form(const Op& op, const std::string& letter) {
  return (op.name() == "cross_entropy" && letter == "v") || (op.name() == "take_token" && letter == "s");
}

// Queries may be split over ranks that share sequences; keys are gathered.
bool splits_by_context(const Op& op, const std::string& letter) { return op.name() == "attention" && letter == "s"; }

struct Factor {
  MeshIds mesh;
  bool whole = false;
  bool context = false;  // but for axes that split sequences alone
  bool on_output = false;
};

// The letters of one op, one factor per dimension of a group.
class Letters {
 public:
  // `keys_stay`: attention over split sequences does not gather its keys.
  Letters(const Graph& graph, const Op& op, bool keys_stay) : op_(op), keys_stay_(keys_stay), dims_(graph::bind_factors(graph, op)) {
    for (size_t i = 0; i < op.inputs.size(); ++i) inputs_.push_back(op.inputs[i] == 0 ? std::vector<int>{} : enumerate(op.row->inputs[i]));
    bool views = false;
    for (size_t o = 0; o < op.outputs.size(); ++o) {
      outputs_.push_back(op.outputs[o] == 0 ? std::vector<int>{} : enumerate(op.row->outputs[o]));
      for (const int f : outputs_.back()) {
        if (f < 0)
          views = true;
        else
          factors_[static_cast<size_t>(f)].on_output = true;
      }
    }
    for (Factor& factor : factors_) factor.whole = factor.whole || views;
  }

  Factor* input(size_t i, size_t d) { return at(inputs_[i][d]); }
  Factor* output(size_t o, size_t d) { return d < outputs_[o].size() ? at(outputs_[o][d]) : nullptr; }
  [[nodiscard]] size_t count() const { return factors_.size(); }
  Factor& factor(size_t f) { return factors_[f]; }
  [[nodiscard]] const std::vector<int>& of_input(size_t i) const { return inputs_[i]; }

 private:
  Factor* at(int f) { return f < 0 ? nullptr : &factors_[static_cast<size_t>(f)]; }

  std::vector<int> enumerate(const TensorRow& row) {
    std::vector<int> ids;
    std::map<std::string, int> seen;
    for (const std::string& letter : graph::letters_of(row, dims_))
      ids.push_back(dims_.contains(letter) ? factor_id(letter, seen[letter]++) : -1);
    return ids;
  }

  int factor_id(const std::string& own, int index) {
    const std::string letter = shared_letter(op_, own, keys_stay_);
    const auto [found, fresh] = ids_.try_emplace({letter, index}, static_cast<int>(factors_.size()));
    if (!fresh) return found->second;
    const auto& whole = op_.row->whole;
    factors_.push_back({{},
                        std::find(whole.begin(), whole.end(), letter) != whole.end() && !has_split_form(op_, letter),
                        splits_by_context(op_, letter),
                        false});
    return found->second;
  }

  const Op& op_;
  bool keys_stay_;
  graph::Factors dims_;
  std::map<std::pair<std::string, int>, int> ids_;
  std::vector<Factor> factors_;
  std::vector<std::vector<int>> inputs_, outputs_;
};

class Decider {
 public:
  Decider(const Graph& graph, const Rules& rules) : graph_(graph), rules_(rules) {
    const size_t n = graph.values.size();
    out_.placed.resize(n);
    out_.differentiable.resize(n, false);
    out_.roots.resize(n);
    out_.exchanged.resize(n, -1);
    counted_.resize(graph.parameters.size(), false);
    out_.gradient_partial.resize(graph.parameters.size(), 0);
  }

  Decisions run() {
    place_leaves();
    for (const Op& op : graph_.ops) out_.ops.push_back(decide_op(op));
    return std::move(out_);
  }

 private:
  void place_leaves() {
    for (size_t v = 1; v < graph_.values.size(); ++v) {
      const graph::Value& value = graph_.values[v];
      if (value.kind == ValueKind::kResult) continue;
      out_.placed[v] = value.kind == ValueKind::kInput ? rules_.input_target(value.dims) : rules_.target(value.dims);
      const std::string kind = value.kind == ValueKind::kInput ? "input" : "parameter";
      (void)rules_.local(value.dims, out_.placed[v], [&] { return kind + " '" + value.name + "'"; });
      out_.roots[v] = value.members;
      for (const uint32_t p : value.members) out_.differentiable[v] = out_.differentiable[v] || graph_.parameters[p].trainable;
    }
  }

  [[nodiscard]] bool is_weight(ValueId v) const { return !out_.roots[v].empty(); }
  [[nodiscard]] bool is_batch_field(ValueId v) const { return graph_.value(v).kind == ValueKind::kInput; }

  bool claim(Factor* factor, int m) {
    if (factor == nullptr || (used_ & bit(m)) != 0 || (factor->whole && !(factor->context && rules_.is_context(m)))) return false;
    factor->mesh.push_back(m);
    used_ |= bit(m);
    return true;
  }

  // Every mesh axis that an input of the wanted sort is split on goes to its letter.
  void claim_from_inputs(const Op& op, Letters& letters, bool weights) {
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      if (op.inputs[i] == 0 || is_weight(op.inputs[i]) != weights) continue;
      const Placement& placed = out_.placed[op.inputs[i]];
      for (size_t d = 0; d < placed.size(); ++d)
        for (const int m : placed[d])
          if (Factor* factor = letters.input(i, d); weights || (factor != nullptr && factor->on_output)) claim(factor, m);
    }
  }

  enum class Carriers { kNone, kSome, kAll, kOnlyBatchFields };

  // How the inputs other than parameters that carry a factor are split over m along it.
  [[nodiscard]] Carriers carriers(const Op& op, const Letters& letters, int factor, int m) const {
    size_t carry = 0, split = 0, fields = 0;
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      if (op.inputs[i] == 0 || is_weight(op.inputs[i])) continue;
      const std::vector<int>& ids = letters.of_input(i);
      for (size_t d = 0; d < ids.size(); ++d) {
        if (ids[d] != factor) continue;
        ++carry;
        const MeshIds& mesh = out_.placed[op.inputs[i]][d];
        split += std::find(mesh.begin(), mesh.end(), m) != mesh.end();
        fields += is_batch_field(op.inputs[i]);
      }
    }
    if (carry == 0) return Carriers::kNone;
    if (split == carry) return Carriers::kAll;
    if (split > 0) return Carriers::kSome;
    return fields == carry ? Carriers::kOnlyBatchFields : Carriers::kNone;
  }

  void claim_reduced(const Op& op, Letters& letters) {
    for (size_t f = 0; f < letters.count(); ++f)
      for (int m = 0; m < rules_.axes() && !letters.factor(f).on_output; ++m)
        if (carriers(op, letters, static_cast<int>(f), m) == Carriers::kAll && !carried_by_weight(op, letters, static_cast<int>(f)))
          claim(&letters.factor(f), m);
  }

  [[nodiscard]] bool carried_by_weight(const Op& op, const Letters& letters, int factor) const {
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      const std::vector<int>& ids = letters.of_input(i);
      if (op.inputs[i] != 0 && is_weight(op.inputs[i]) && std::find(ids.begin(), ids.end(), factor) != ids.end()) return true;
    }
    return false;
  }

  void claim_from_targets(const Op& op, Letters& letters) {
    for (size_t o = 0; o < op.outputs.size(); ++o) {
      if (op.outputs[o] == 0) continue;
      const Placement target = rules_.target(graph_.value(op.outputs[o]).dims);
      for (size_t d = 0; d < target.size(); ++d)
        for (const int m : target[d])
          if (Factor* factor = letters.output(o, d); factor != nullptr) {
            const int f = static_cast<int>(factor - &letters.factor(0));
            if (carriers(op, letters, f, m) != Carriers::kNone) claim(factor, m);
          }
    }
  }

  OpDecision decide_op(const Op& op) {
    Letters letters(graph_, op, rules_.context() != "all_gather");
    used_ = 0;
    claim_from_inputs(op, letters, true);
    claim_reduced(op, letters);
    claim_from_targets(op, letters);
    claim_from_inputs(op, letters, false);
    const int exchange = exchange_of(op);
    if (op.name() == "grouped_linear" && exchange >= 0) meet_experts(op, letters, out_.exchanges[static_cast<size_t>(exchange)].mesh);
    for (size_t f = 0; f < letters.count(); ++f) std::sort(letters.factor(f).mesh.begin(), letters.factor(f).mesh.end());
    OpDecision decision;
    for (size_t i = 0; i < op.inputs.size(); ++i) decision.inputs.push_back(decide_input(op, i, letters));
    if (op.name() == "cross_entropy" && !decision.inputs[0].needed.back().empty()) decision.form = vocabulary_loss(op);
    for (size_t o = 0; o < op.outputs.size(); ++o) decision.outputs.push_back(decide_output(op, o, letters, decision.form));
    note_dependences(op, decision);
    note_exchange(op, exchange);
    return decision;
  }

  // The exchange that rows of the op's inputs are in, or -1.
  [[nodiscard]] int exchange_of(const Op& op) const {
    int found = -1;
    for (size_t i = 0; i < op.inputs.size(); ++i)
      if (op.inputs[i] != 0 && out_.exchanged[op.inputs[i]] >= 0) found = out_.exchanged[op.inputs[i]];
    return found;
  }

  // Each rank's experts meet all rows that are theirs, wherever these were dealt: the one mesh axis that splits two letters of an op.
  void meet_experts(const Op& op, Letters& letters, int m) {
    const auto splits = [m](const Factor& f) { return std::find(f.mesh.begin(), f.mesh.end(), m) != f.mesh.end(); };
    const int d = dimension_of(out_.placed[op.inputs[0]], m);
    if (!splits(*letters.input(2, 0)) || d < 0)
      throw Error(Code::kUnsupported, place_of(op) + ": rows are exchanged over mesh axis '" + rules_.name(m) +
                                          "', but the experts' weights are not split over it; their first axis must be 'experts'");
    letters.input(0, static_cast<size_t>(d))->mesh.push_back(m);
  }

  // Rows enter an exchange behind moe_dispatch and leave it at moe_combine; between them, ops must not care which row is which.
  void note_exchange(const Op& op, int exchange) {
    if (op.name() == "moe_dispatch") return begin_exchange(op);
    if (exchange < 0 || op.name() == "moe_combine") return;
    const auto by_row = [](const TensorRow& row) { return !row.letters.empty() && row.letters[0].group && row.letters[0].name == "a"; };
    bool fits = op.name() != "dropout";
    for (size_t i = 0; i < op.inputs.size(); ++i)
      if (op.inputs[i] != 0 && !is_weight(op.inputs[i]))
        fits = fits && by_row(op.row->inputs[i]) && out_.exchanged[op.inputs[i]] == exchange;
    for (size_t o = 0; o < op.outputs.size(); ++o) {
      if (op.outputs[o] == 0) continue;
      fits = fits && by_row(op.row->outputs[o]);
      out_.exchanged[op.outputs[o]] = exchange;
    }
    if (!fits)
      throw Error(Code::kUnsupported, place_of(op) + ": rows of experts are exchanged over mesh axis '" +
                                          rules_.name(out_.exchanges[static_cast<size_t>(exchange)].mesh) +
                                          "', and this op cannot work on rows in another order; set expert_model_parallel_size to 1");
  }

  void begin_exchange(const Op& op) {
    const int m = rules_.exchange_axis();
    const Placement& dealt = out_.placed[op.outputs[0]];
    if (m < 0 || dimension_of(dealt, m) < 0) return;
    for (const size_t o : {0, 1}) out_.exchanged[op.outputs[o]] = static_cast<int>(out_.exchanges.size());
    out_.exchanges.push_back({m, dealt.size() - 1, dealt});
  }

  static OpForm vocabulary_loss(const Op& op) {
    if (op.float_attr("label_smoothing") != 0)
      throw Error(
          Code::kUnsupported,
          place_of(op) +
              ": label_smoothing with a split vocabulary is not supported; set it to 0 or leave 'vocab' out of the strategy's rules");
    return OpForm::kVocabularyLoss;
  }

  InputDecision decide_input(const Op& op, size_t i, Letters& letters) {
    InputDecision decision;
    if (op.inputs[i] == 0) return decision;
    const Dims& dims = graph_.value(op.inputs[i]).dims;
    for (size_t d = 0; d < dims.size(); ++d) decision.needed.push_back(letters.input(i, d)->mesh);
    (void)rules_.local(dims, decision.needed, [&] { return place_of(op) + ", input '" + op.row->inputs[i].name + "'"; });
    if (out_.differentiable[op.inputs[i]]) decision.partial = used_ & ~mask_of(decision.needed);
    return decision;
  }

  OutputDecision decide_output(const Op& op, size_t o, Letters& letters, OpForm form) {
    OutputDecision decision;
    if (op.outputs[o] == 0) return decision;
    const Dims& dims = graph_.value(op.outputs[o]).dims;
    for (size_t d = 0; d < dims.size(); ++d) {
      const Factor* factor = letters.output(o, d);
      decision.raw.push_back(factor == nullptr ? MeshIds{} : factor->mesh);
    }
    decision.final = decision.raw;
    if (form == OpForm::kAsIs) {
      decision.partial = used_ & ~mask_of(decision.raw);
      scatter(dims, decision);
    }
    (void)rules_.local(dims, decision.final, [&] { return place_of(op) + ", output '" + op.row->outputs[o].name + "'"; });
    out_.placed[op.outputs[o]] = decision.final;
    return decision;
  }

  // Where the target wants a mesh axis that the sum is partial over, the sum is scattered along that dimension.
  void scatter(const Dims& dims, OutputDecision& decision) const {
    const Placement target = rules_.target(dims);
    for (int m = 0; m < rules_.axes(); ++m) {
      if ((decision.partial & bit(m)) == 0) continue;
      const int d = dimension_of(target, m);
      if (d < 0) continue;
      MeshIds& ids = decision.final[static_cast<size_t>(d)];
      if (ids.empty() || ids.back() < m) ids.push_back(m);
    }
  }

  void note_dependences(const Op& op, const OpDecision& decision) {
    bool differentiable = false, weights = true;
    std::set<uint32_t> roots;
    for (const ValueId v : op.inputs) {
      if (v == 0) continue;
      differentiable = differentiable || out_.differentiable[v];
      weights = weights && is_weight(v);
      roots.insert(out_.roots[v].begin(), out_.roots[v].end());
    }
    for (const ValueId v : op.outputs) {
      if (v == 0) continue;
      out_.differentiable[v] = differentiable;
      if (weights) out_.roots[v].assign(roots.begin(), roots.end());
    }
    for (size_t i = 0; i < op.inputs.size(); ++i)
      if (op.inputs[i] != 0 && out_.differentiable[op.inputs[i]] && (!weights || decision.inputs[i].partial != 0))
        note_use(op.inputs[i], decision.inputs[i].partial);
  }

  void note_use(ValueId value, MeshMask partial) {
    for (const uint32_t p : out_.roots[value]) {
      out_.gradient_partial[p] = counted_[p] ? out_.gradient_partial[p] & partial : partial;
      counted_[p] = true;
    }
  }

  const Graph& graph_;
  const Rules& rules_;
  Decisions out_;
  std::vector<bool> counted_;
  MeshMask used_ = 0;
};

}  // namespace

std::string place_of(const Op& op) { return (op.scope.empty() ? "" : op.scope + ": ") + "op '" + std::string(op.name()) + "'"; }

Decisions decide(const Graph& graph, const Rules& rules) { return Decider(graph, rules).run(); }

}  // namespace nemo::passes

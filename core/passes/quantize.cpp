#include "core/passes/quantize.hpp"

#include <map>
#include <tuple>

#include "core/base/error.hpp"
#include "core/graph/shape.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

constexpr int64_t kMultiple = 16;  // elements; what 8-bit matrix units ask of every size
constexpr const char* kHistory = "quantize.amax_history";

using Supports = std::function<bool(std::string_view op)>;

// A value to be quantized: its format, and how many trailing dimensions are the columns.
using Key = std::tuple<ValueId, DType, int64_t>;

struct Copies {
  bool rows = false, turned = false;  // wanted: q, qt
  size_t first_reader = 0;
  ValueId q = 0, qt = 0, factor = 0;
  ValueId amax = 0;  // where the producer gives it
};

// The operands of one product, as the row has them: 0 and 1, each read by rows or turned.
struct Product {  // NOLINT(bugprone-reserved-identifier): of the compiler, not ours
  Key operand[2];
  bool turned[2];
  std::string_view row;
};

class Quantizer {
 public:
  Quantizer(Graph& graph, const Quantization& rule, const Supports& supports)
      : graph_(graph), rule_(rule), supports_(supports), uses_(analyse_uses(graph)) {}

  void run() {
    for (size_t i = 0; i < graph_.ops.size(); ++i)
      if (eligible(graph_.ops[i])) note(i);
    if (products_.empty()) return;
    if (rule_.scaling == Quantization::Scaling::kCurrent)
      for (const Key& key : order_) ask_producer(key);
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    if (rule_.scaling == Quantization::Scaling::kDelayed) look_back();
    for (size_t i = 0; i < ops.size(); ++i) {
      const auto product = products_.find(i);
      if (product == products_.end()) {
        graph_.ops.push_back(measured(std::move(ops[i]), i));
        continue;
      }
      for (const Key& key : product->second.operand) make_copies(key, ops[i], i);
      graph_.ops.push_back(rewritten(ops[i], product->second));
    }
    prune(graph_);
  }

 private:
  [[nodiscard]] bool exempt(int32_t block) const {
    return block < 0 || block < rule_.first_blocks || block >= static_cast<int64_t>(graph_.blocks.size()) - rule_.last_blocks;
  }

  [[nodiscard]] bool eligible(const Op& op) const {
    if (op.name() != "linear" && op.name() != "linear_dgrad" && op.name() != "linear_wgrad") return false;
    if (exempt(op.block) || compute_dtype(graph_, op) == DType::kF64) return false;
    const Factors factors = bind_factors(graph_, op);
    for (const char* letter : {"a", "n", "k"})
      if (element_count(factors.at(letter)) % kMultiple != 0) return false;
    return true;
  }

  void note(size_t i) {
    const Op& op = graph_.ops[i];
    const Factors factors = bind_factors(graph_, op);
    const auto k = static_cast<int64_t>(factors.at("k").size()), n = static_cast<int64_t>(factors.at("n").size());
    Product p;
    if (op.name() == "linear")
      p = {{{op.inputs[0], rule_.forward, k}, {op.inputs[1], rule_.forward, k}}, {false, false}, "linear_fp8"};
    else if (op.name() == "linear_dgrad")
      p = {{{op.inputs[0], rule_.gradient, n}, {op.inputs[1], rule_.forward, k}}, {false, true}, "linear_dgrad_fp8"};
    else
      p = {{{op.inputs[0], rule_.gradient, n}, {op.inputs[1], rule_.forward, k}}, {true, true}, "linear_wgrad_fp8"};
    for (size_t o = 0; o < 2; ++o) {
      const auto [found, fresh] = copies_.try_emplace(p.operand[o]);
      if (fresh) found->second.first_reader = i;
      if (fresh && !is_weight(p.operand[o])) order_.push_back(p.operand[o]);
      (p.turned[o] ? found->second.turned : found->second.rows) = true;
    }
    products_.emplace(i, p);
  }

  [[nodiscard]] bool is_weight(const Key& key) const { return graph_.value(std::get<0>(key)).kind == ValueKind::kParameter; }

  // The op whose results are the value: its producer, or what makes all the pieces that a concat puts side by side.
  [[nodiscard]] int32_t maker_of(ValueId value) const {
    const int32_t p = uses_.producer[value];
    if (p < 0 || graph_.ops[p].name() != "concat") return p;
    const Op& join = graph_.ops[p];
    const int32_t maker = uses_.producer[join.inputs[0]];
    for (const ValueId piece : join.inputs)
      if (piece != 0 && uses_.producer[piece] != maker) return -1;
    return maker;
  }

  // Where the op that makes the value has a form that also gives its largest magnitude, that form is taken.
  void ask_producer(const Key& key) {
    const ValueId value = std::get<0>(key);
    const int32_t maker = maker_of(value);
    if (maker < 0 || products_.contains(static_cast<size_t>(maker))) return;
    const Op& op = graph_.ops[maker];
    const bool joined = value != op.outputs[0];
    if ((joined && op.name() != "glu_grad") || (!joined && op.name() == "glu_grad") || !supports_(op.row->name + "_amax")) return;
    ValueId& amax = measured_[static_cast<size_t>(maker)];
    if (amax == 0) amax = graph_.add_value({ValueKind::kResult, "", DType::kF32, {}, {}});
    copies_.at(key).amax = amax;
  }

  Op measured(Op op, size_t i) const {
    const auto found = measured_.find(i);
    if (found == measured_.end()) return op;
    op.row = &op_row(op.row->name + "_amax");
    op.outputs.push_back(found->second);
    return op;
  }

  // Delayed scaling: the program begins with the maxima of what came before.
  void look_back() {
    const auto tensors = static_cast<int64_t>(order_.size());
    for (int64_t i = 0; i < tensors; ++i) row_[order_[static_cast<size_t>(i)]] = i;
    history_ = graph_.add_state(kHistory, DType::kF32, {{tensors, "", {}}, {rule_.history, "", {}}});
    const Attrs attrs{{"algorithm", std::string(rule_.most_recent ? "most_recent" : "max")}};
    Op op = make_op(graph_, {"recent_amax", {history_}, attrs, {0, history_}}, "quantize");
    before_ = op.outputs[0];
    graph_.ops.push_back(std::move(op));
  }

  Op placed(Op op, const Op& reader, bool once) {
    op.block = reader.block;
    op.phase = reader.phase;
    op.once_per_step = once;
    return op;
  }

  void make_copies(const Key& key, const Op& reader, size_t at) {
    Copies& copies = copies_.at(key);
    if (copies.first_reader != at || copies.factor != 0) return;
    const auto& [value, format, columns] = key;
    const bool weight = is_weight(key), delayed = !weight && rule_.scaling == Quantization::Scaling::kDelayed;
    ValueId amax = delayed ? before_ : copies.amax;
    if (amax == 0) {
      Op op = make_op(graph_, {"amax", {value}}, reader.scope);
      amax = op.outputs[0];
      graph_.ops.push_back(placed(std::move(op), reader, weight));
    }
    Attrs attrs{{"dtype", std::string(to_string(format))}, {"contract", columns}, {"margin", rule_.margin}};
    if (delayed) attrs["index"] = row_.at(key);
    OpRequest request{"quantize", {value, amax}, attrs, {0, 0, 0, delayed ? history_ : 0}, {!copies.rows, !copies.turned, false, !delayed}};
    Op op = make_op(graph_, std::move(request), reader.scope);
    copies.q = op.outputs[0], copies.qt = op.outputs[1], copies.factor = op.outputs[2];
    graph_.ops.push_back(placed(std::move(op), reader, weight));
  }

  Op rewritten(const Op& op, const Product& p) {
    Op out = op;
    out.row = &op_row(p.row);
    out.inputs.assign(out.row->inputs.size(), 0);
    for (size_t o = 0; o < 2; ++o) {
      const Copies& copies = copies_.at(p.operand[o]);
      out.inputs[o] = p.turned[o] ? copies.qt : copies.q;
      out.inputs[2 + o] = copies.factor;
    }
    if (op.name() == "linear") out.inputs[4] = op.inputs[2];
    if (out.row->attribute("dtype") != nullptr) out.attrs["dtype"] = std::string(to_string(graph_.value(op.outputs[0]).dtype));
    return out;
  }

  Graph& graph_;
  const Quantization& rule_;
  const Supports& supports_;
  const Uses uses_;
  std::map<size_t, Product> products_;  // by op index
  std::map<Key, Copies> copies_;
  std::map<size_t, ValueId> measured_;  // by op index: the amax that it is to give
  std::vector<Key> order_;              // what is scaled by history, in the order of its rows
  std::map<Key, int64_t> row_;
  ValueId history_ = 0, before_ = 0;
};

}  // namespace

void quantize(Graph& graph, const Quantization& rule, const std::function<bool(std::string_view op)>& supports) {
  if (rule.scaling == Quantization::Scaling::kNone) return;
  for (const char* row : {"amax", "quantize", "linear_fp8", "linear_dgrad_fp8", "linear_wgrad_fp8"})
    if (!supports(row))
      throw Error(Code::kUnsupported, "the precision quantizes linears to 8 bits, for which this backend has no kernel '" +
                                          std::string(row) + "'; choose another precision.plugin or backend");
  Quantizer(graph, rule, supports).run();
}

bool hides_linear(std::string_view row) { return row == "linear_activation" || row == "linear_dgrad_activation"; }

void allow_tf32(Graph& graph) {
  for (Op& op : graph.ops)
    if (op.row->attribute("tf32") != nullptr && compute_dtype(graph, op) == DType::kF32) op.attrs["tf32"] = int64_t{1};
}

}  // namespace nemo::passes

#include "core/passes/fuse.hpp"

#include <map>
#include <optional>
#include <utility>

#include "core/passes/key_bias.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

using Supports = std::function<bool(std::string_view)>;

// Collects replacements against one snapshot of the op list and applies them together. Within one pattern no op takes part in two matches.
class Rewriter {
 public:
  explicit Rewriter(Graph& graph) : graph_(graph), uses_(analyse_uses(graph)), taken_(graph.ops.size(), false) {}
  ~Rewriter() {
    std::vector<Op> out;
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (const auto found = placed_.find(i); found != placed_.end())
        for (Op& op : found->second) out.push_back(std::move(op));
      if (!taken_[i]) out.push_back(std::move(graph_.ops[i]));
    }
    graph_.ops = std::move(out);
  }
  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

  // The op that produces v and belongs to no match yet; nullptr if there is none. The index is in `at`.
  const Op* producer(ValueId v, size_t* at) const {
    const int32_t p = v == 0 ? -1 : uses_.producer[v];
    if (p < 0 || taken_[p]) return nullptr;
    *at = static_cast<size_t>(p);
    return &graph_.ops[p];
  }
  [[nodiscard]] const std::vector<int32_t>& readers(ValueId v) const { return uses_.readers[v]; }
  // Whether v is there before op i.
  [[nodiscard]] bool ready_before(ValueId v, size_t i) const { return v == 0 || uses_.producer[v] < static_cast<int32_t>(i); }
  [[nodiscard]] bool is_output(ValueId v) const {
    for (const auto& [name, id] : graph_.outputs)
      if (id == v) return true;
    return false;
  }
  [[nodiscard]] bool taken(size_t i) const { return taken_[i]; }
  // Puts `ops` in place of op `position` and drops `removed`.
  void replace(size_t position, std::vector<Op> ops, const std::vector<size_t>& removed) {
    placed_[position] = std::move(ops);
    for (const size_t i : removed) taken_[i] = true;
  }

 private:
  Graph& graph_;
  const Uses uses_;
  std::vector<bool> taken_;
  std::map<size_t, std::vector<Op>> placed_;
};

bool always_ready(const Graph& graph, ValueId v) { return v == 0 || graph.value(v).kind != ValueKind::kResult; }

Op fused(const Op& like, std::string_view row, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  Op op = like;
  op.row = &op_row(row);
  op.inputs = std::move(inputs);
  op.outputs = std::move(outputs);
  return op;
}

// Where a summand is a linear's result that only this add reads, the norm can add the linear's bias: the product then has no epilogue. The
// linear's index; its rows must end with the dimension of the bias.
std::optional<size_t> biased_branch(const Graph& graph, const Rewriter& rewriter, const Op& add, ValueId v) {
  size_t n = 0;
  const Op* linear = rewriter.producer(v, &n);
  if (linear == nullptr || linear->name() != "linear" || linear->phase != add.phase || linear->inputs[2] == 0) return std::nullopt;
  if (rewriter.readers(v).size() != 1 || rewriter.is_output(v) || !always_ready(graph, linear->inputs[2])) return std::nullopt;
  if (graph.value(linear->inputs[2]).dims.size() != 1 || graph.value(linear->inputs[2]).dtype != graph.value(v).dtype) return std::nullopt;
  return n;
}

void fuse_add_norm(Graph& graph, const Supports& supports) {
  Rewriter rewriter(graph);
  for (size_t n = 0; n < graph.ops.size(); ++n) {
    const Op& norm = graph.ops[n];
    const bool rms = norm.name() == "rms_norm";
    if ((!rms && norm.name() != "layer_norm") || rewriter.taken(n)) continue;
    const std::string row = "add_" + norm.row->name;
    size_t a = 0;
    const Op* add = rewriter.producer(norm.inputs[0], &a);
    if (add == nullptr || add->name() != "add" || add->phase != norm.phase || !supports(row)) continue;
    if (!always_ready(graph, norm.inputs[1]) || (!rms && !always_ready(graph, norm.inputs[2]))) continue;
    std::vector<ValueId> inputs{add->inputs[0], add->inputs[1], norm.inputs[1]};
    std::vector<ValueId> outputs{norm.outputs[0], add->outputs[0], norm.outputs[1]};
    if (!rms) {
      inputs.insert(inputs.end(), {norm.inputs[2], 0}), outputs.push_back(norm.outputs[2]);
      for (const size_t side : {size_t{0}, size_t{1}}) {
        const auto branch = biased_branch(graph, rewriter, *add, add->inputs[side]);
        if (!branch) continue;
        Op linear = graph.ops[*branch];
        inputs[0] = add->inputs[side], inputs[1] = add->inputs[1 - side], inputs[4] = std::exchange(linear.inputs[2], 0);
        rewriter.replace(*branch, {std::move(linear)}, {*branch});
        break;
      }
    }
    Op op = fused(norm, row, std::move(inputs), std::move(outputs));
    rewriter.replace(a, {std::move(op)}, {a, n});
  }
}

// The first bias_grad of dy into a gradient buffer.
std::optional<size_t> bias_gradient(const Graph& graph, const Rewriter& rewriter, ValueId dy) {
  for (const int32_t r : rewriter.readers(dy)) {
    const Op& bias = graph.ops[r];
    if (bias.name() != "bias_grad" || rewriter.taken(static_cast<size_t>(r))) continue;
    if (bias.int_attr("axes") == 1 && graph.value(bias.outputs[0]).kind == ValueKind::kGradient) return static_cast<size_t>(r);
  }
  return std::nullopt;
}

void fuse_norm_grad_add(Graph& graph, const Supports& supports) {
  Rewriter rewriter(graph);
  for (size_t a = 0; a < graph.ops.size(); ++a) {
    const Op& add = graph.ops[a];
    if (add.name() != "add" || add.phase != Phase::kBackward) continue;
    for (size_t side = 0; side < 2; ++side) {
      const ValueId dx = add.inputs[side];
      size_t g = 0;
      const Op* grad = rewriter.producer(dx, &g);
      if (grad == nullptr || (grad->name() != "rms_norm_grad" && grad->name() != "layer_norm_grad")) continue;
      const std::string row = grad->row->name + "_add";
      if (rewriter.readers(dx).size() != 1 || rewriter.is_output(dx) || !supports(row)) continue;
      if (!rewriter.ready_before(add.inputs[1 - side], g)) continue;
      std::vector<ValueId> inputs = grad->inputs, outputs = grad->outputs;
      inputs.push_back(add.inputs[1 - side]);
      outputs[0] = add.outputs[0];
      std::vector<size_t> removed{a, g};
      if (row == "layer_norm_grad_add") {
        const auto bias = bias_gradient(graph, rewriter, outputs[0]);
        outputs.push_back(bias ? graph.ops[*bias].outputs[0] : 0);
        if (bias) removed.push_back(*bias);
      }
      Op op = fused(*grad, row, std::move(inputs), std::move(outputs));
      rewriter.replace(g, {std::move(op)}, removed);
      break;
    }
  }
}

// linear and the activation behind it. The activation's argument is kept where others read it: its gradient does.
void fuse_linear_activation(Graph& graph, const Supports& supports) {
  if (!supports("linear_activation")) return;
  Rewriter rewriter(graph);
  for (size_t a = 0; a < graph.ops.size(); ++a) {
    const Op& act = graph.ops[a];
    if (act.name() != "activation") continue;
    size_t n = 0;
    const Op* linear = rewriter.producer(act.inputs[0], &n);
    if (linear == nullptr || linear->name() != "linear" || linear->phase != act.phase) continue;
    const ValueId pre = act.inputs[0];
    const bool kept = rewriter.readers(pre).size() > 1 || rewriter.is_output(pre);
    Op op = fused(*linear, "linear_activation", linear->inputs, {act.outputs[0], kept ? pre : 0});
    op.attrs["kind"] = act.attrs.at("kind");
    rewriter.replace(n, {std::move(op)}, {n, a});
  }
}

// The gradient of a linear's input, the slope of the activation that made this input, and the gradient of the bias before that.
void fuse_linear_dgrad_activation(Graph& graph, const Supports& supports) {
  if (!supports("linear_dgrad_activation")) return;
  Rewriter rewriter(graph);
  for (size_t a = 0; a < graph.ops.size(); ++a) {
    const Op& slope = graph.ops[a];
    if (slope.name() != "activation_grad") continue;
    const ValueId dy = slope.inputs[0];
    size_t g = 0;
    const Op* dgrad = rewriter.producer(dy, &g);
    if (dgrad == nullptr || dgrad->name() != "linear_dgrad" || rewriter.readers(dy).size() != 1 || rewriter.is_output(dy)) continue;
    Op op = fused(*dgrad, "linear_dgrad_activation", {dgrad->inputs[0], dgrad->inputs[1], slope.inputs[1]}, {slope.outputs[0], 0});
    op.attrs["kind"] = slope.attrs.at("kind");
    std::vector<size_t> removed{g, a};
    for (const int32_t r : rewriter.readers(slope.outputs[0])) {
      const Op& bias = graph.ops[r];
      if (bias.name() != "bias_grad" || graph.value(bias.outputs[0]).kind != ValueKind::kGradient) continue;
      op.outputs[1] = bias.outputs[0];
      removed.push_back(static_cast<size_t>(r));
      break;
    }
    rewriter.replace(a, {std::move(op)}, removed);
  }
}

// The ops around one cross_entropy over the logits of a linear.
struct LossPattern {
  size_t linear = 0, loss = 0;
  std::optional<size_t> grad, dgrad, wgrad;
};

std::optional<LossPattern> match_loss(const Graph& graph, const Rewriter& rewriter, size_t c) {
  LossPattern m;
  m.loss = c;
  const Op& loss = graph.ops[c];
  const ValueId logits = loss.inputs[0];
  const Op* linear = rewriter.producer(logits, &m.linear);
  if (linear == nullptr || linear->name() != "linear" || linear->inputs[2] != 0 || rewriter.is_output(logits)) return std::nullopt;
  if (linear->int_attr("contract") != 1 || graph.value(linear->inputs[1]).dims.size() != 2) return std::nullopt;
  for (const int32_t r : rewriter.readers(logits)) {
    if (static_cast<size_t>(r) == c) continue;
    if (graph.ops[r].name() != "cross_entropy_grad" || m.grad) return std::nullopt;
    m.grad = r;
  }
  if (rewriter.is_output(loss.outputs[1])) return std::nullopt;
  for (const int32_t r : rewriter.readers(loss.outputs[1]))
    if (!m.grad || static_cast<size_t>(r) != *m.grad) return std::nullopt;
  if (!m.grad) return m;
  const ValueId dlogits = graph.ops[*m.grad].outputs[0];
  for (const int32_t r : rewriter.readers(dlogits)) {
    const Op& reader = graph.ops[r];
    if (reader.name() == "linear_dgrad" && reader.inputs[1] == linear->inputs[1])
      m.dgrad = r;
    else if (reader.name() == "linear_wgrad" && reader.inputs[1] == linear->inputs[0])
      m.wgrad = r;
    else
      return std::nullopt;
  }
  return m.dgrad && m.wgrad ? std::optional(m) : std::nullopt;
}

void fuse_loss(Graph& graph, const Supports& supports) {
  Rewriter rewriter(graph);
  const size_t n = graph.ops.size();
  for (size_t c = 0; c < n; ++c) {
    if (graph.ops[c].name() != "cross_entropy") continue;
    const auto m = match_loss(graph, rewriter, c);
    if (!m) continue;
    const Op linear = graph.ops[m->linear], loss = graph.ops[c];
    if (!m->grad) {
      if (!supports("linear_cross_entropy")) continue;
      Op op = fused(loss, "linear_cross_entropy", {linear.inputs[0], linear.inputs[1], loss.inputs[1]}, {loss.outputs[0]});
      rewriter.replace(c, {std::move(op)}, {m->linear, c});
      continue;
    }
    size_t b = 0;
    const Op* broadcast = rewriter.producer(graph.ops[*m->grad].inputs[0], &b);
    if (!supports("linear_cross_entropy_train") || broadcast == nullptr || broadcast->name() != "broadcast" ||
        !always_ready(graph, broadcast->inputs[0]))
      continue;
    const Op seed = *broadcast;
    const std::vector<ValueId> outputs{loss.outputs[0], graph.ops[*m->dgrad].outputs[0], graph.ops[*m->wgrad].outputs[0]};
    Op dloss = make_op(graph, {"broadcast", {seed.inputs[0], loss.inputs[1]}}, loss.scope);
    Op op = fused(loss, "linear_cross_entropy_train", {linear.inputs[0], linear.inputs[1], loss.inputs[1], dloss.outputs[0]}, outputs);
    rewriter.replace(c, {std::move(dloss), std::move(op)}, {m->linear, c, *m->grad, *m->dgrad, *m->wgrad});
  }
}

}  // namespace

void fuse(Graph& graph, const Supports& supports) {
  skip_key_bias_gradients(graph);
  fuse_add_norm(graph, supports);
  fuse_norm_grad_add(graph, supports);
  fuse_loss(graph, supports);
  fuse_linear_activation(graph, supports);
  fuse_linear_dgrad_activation(graph, supports);
  prune(graph);
}

}  // namespace nemo::passes

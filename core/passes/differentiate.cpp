#include "core/passes/differentiate.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "core/base/error.hpp"
#include "core/ops/gradients.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

// Cheap to compute again compared with the memory that they hold.
bool is_cheap(std::string_view op) {
  static const std::unordered_set<std::string_view> cheap{"rms_norm", "layer_norm", "activation", "glu",    "add",
                                                          "mul",      "scale",      "cast",       "dropout"};
  return cheap.contains(op);
}

struct SlicePart {
  int64_t start, length;
  ValueId gradient;
};

class Differentiator final : public ops::Backward {
 public:
  Differentiator(Graph& graph, Recompute recompute, Stages* stages, bool regather)
      : graph_(graph),
        recompute_(recompute),
        regather_(regather || recompute == Recompute::kFull),
        stages_(stages),
        uses_(analyse_uses(graph)),
        forward_(graph.ops),
        needed_(graph.values.size(), false) {}

  void run() {
    const ValueId loss = graph_.find_output("loss");
    const bool cut = stages_ != nullptr && stages_->cut();
    if (loss == 0 && !cut) throw Error(Code::kInvalidArgument, "the model names no output 'loss', so it cannot be trained");
    mark_needed();
    if (!needed_[loss] && !cut) throw Error(Code::kConfig, "no trainable parameter leads to the loss");
    if (loss != 0) contributions_[loss].push_back(graph_.add_input("loss_scale", graph_.value(loss).dtype, graph_.value(loss).dims));
    if (cut) seed_sends();
    for (size_t i = forward_.size(); i-- > 0;) visit(i);
    if (cut) name_receives();
  }

  // ops::Backward
  const Op& op() const override { return forward_[at_]; }
  const Graph& graph() const override { return graph_; }
  ValueId dout(size_t i) override {
    asked_.insert(op().outputs[i]);
    return gradient_of(op().outputs[i]);
  }
  ValueId in(size_t i) override { return op().inputs[i] == 0 ? 0 : kept(op().inputs[i]); }
  ValueId out(size_t i) override { return kept(op().outputs[i]); }
  bool needs(size_t i) const override { return op().inputs[i] != 0 && needed_[op().inputs[i]]; }

  ValueId buffer(size_t i) override {
    const ValueId v = op().inputs[i];
    return needs(i) && graph_.value(v).kind == ValueKind::kParameter ? graph_.gradient_of(v) : 0;
  }

  void give(size_t i, ValueId gradient) override {
    if (!needs(i)) return;
    const ValueId v = op().inputs[i];
    if (graph_.value(v).kind != ValueKind::kParameter)
      contributions_[v].push_back(gradient);
    else if (gradient != graph_.gradient_of(v))
      emit({"accumulate_grad", {gradient}, {}, {graph_.gradient_of(v)}});
  }

  void give_slice(ValueId gradient) override {
    if (op().int_attr("dim") + 1 != static_cast<int64_t>(graph_.value(op().inputs[0]).dims.size()))
      throw Error(Code::kUnsupported, op().scope + ": the gradient of a slice of another than the last dimension is not available");
    slices_[op().inputs[0]].push_back({op().int_attr("start"), op().int_attr("length"), gradient});
  }

  std::vector<ValueId> emit(OpRequest request) override {
    Op made = make_op(graph_, std::move(request), op().scope);
    made.block = op().block;
    made.phase = Phase::kBackward;
    graph_.ops.push_back(made);
    return made.outputs;
  }

  ValueId result_like(size_t i, DType dtype) override {
    Dims dims = graph_.value(op().inputs[i]).dims;
    return graph_.add_value({ValueKind::kResult, "", dtype, std::move(dims), {}});
  }

 private:
  // The gradients of what this rank's stages hand on come from the next stage.
  void seed_sends() {
    for (const auto& [name, v] : graph_.outputs)
      for (StageLink& link : stages_->sends) {
        if (link.value != v || !link.differentiable || !name.starts_with("send.")) continue;
        link.gradient = graph_.add_input("grad." + name, graph_.value(v).dtype, graph_.value(v).dims);
        contributions_[v].push_back(link.gradient);
      }
  }

  void name_receives() {
    at_ = 0;
    for (StageLink& link : stages_->receives) {
      link.gradient = link.differentiable ? gradient_of(link.value) : 0;
      if (link.gradient != 0) graph_.outputs.emplace_back("grad." + graph_.value(link.value).name, link.gradient);
    }
  }

  // A value is needed if it depends on a trainable parameter.
  void mark_needed() {
    for (const Value& v : graph_.values) {
      const bool trainable = v.kind == ValueKind::kParameter && graph_.parameters[v.members[0]].trainable;
      needed_[static_cast<size_t>(&v - graph_.values.data())] = trainable;
    }
    if (stages_ != nullptr)
      for (const StageLink& link : stages_->receives) needed_[link.value] = link.differentiable;
    for (const Op& o : forward_) {
      const bool any = std::any_of(o.inputs.begin(), o.inputs.end(), [&](ValueId v) { return needed_[v]; });
      for (const ValueId v : o.outputs) needed_[v] = any;
    }
    needed_[0] = false;
  }

  void visit(size_t i) {
    at_ = i;
    const bool flows = std::any_of(op().outputs.begin(), op().outputs.end(),
                                   [&](ValueId v) { return v != 0 && (contributions_.contains(v) || slices_.contains(v)); });
    const bool wanted = std::any_of(op().inputs.begin(), op().inputs.end(), [&](ValueId v) { return needed_[v]; });
    if (!flows || !wanted) return;
    const ops::GradientRule rule = ops::gradient_rule(op().name());
    if (rule == nullptr) return;
    asked_.clear();
    rule(*this);
    for (size_t o = 0; o < op().outputs.size(); ++o)
      if (contributions_.contains(op().outputs[o]) && !asked_.contains(op().outputs[o]))
        throw Error(Code::kUnsupported, op().scope + ": op '" + op().row->name + "': result '" + op().row->outputs[o].name +
                                            "' has no gradient, so the loss must not depend on it");
  }

  // The total gradient of a value: its contributions added, its slices joined.
  ValueId gradient_of(ValueId v) {
    if (v == 0) return 0;
    if (const auto parts = slices_.find(v); parts != slices_.end()) {
      contributions_[v].push_back(join(v, parts->second));
      slices_.erase(parts);
    }
    const auto found = contributions_.find(v);
    if (found == contributions_.end()) return 0;
    std::vector<ValueId>& list = found->second;
    while (list.size() > 1) {
      const ValueId total = emit({"add", {list[0], list[1]}})[0];
      list.erase(list.begin(), list.begin() + 2);
      list.insert(list.begin(), total);
    }
    return list[0];
  }

  ValueId join(ValueId v, std::vector<SlicePart> parts) {
    std::sort(parts.begin(), parts.end(), [](const SlicePart& a, const SlicePart& b) { return a.start < b.start; });
    int64_t end = 0;
    std::vector<ValueId> inputs;
    for (const SlicePart& p : parts) {
      if (p.start != end) throw Error(Code::kUnsupported, op().scope + ": slices that leave a gap or overlap have no gradient");
      end += p.length;
      inputs.push_back(p.gradient);
    }
    if (end != graph_.value(v).dims.back().size || inputs.size() < 2 || inputs.size() > 3)
      throw Error(Code::kUnsupported, op().scope + ": the gradient of slices needs two or three that cover the whole dimension");
    Value joined{ValueKind::kResult, "", graph_.value(inputs[0]).dtype, graph_.value(v).dims, {}};
    const ValueId out = graph_.add_value(std::move(joined));
    return emit({"concat", inputs, {{"dim", static_cast<int64_t>(graph_.value(v).dims.size()) - 1}}, {out}})[0];
  }

  [[nodiscard]] bool recomputed(ValueId v) const {
    const int32_t p = uses_.producer.size() > v ? uses_.producer[v] : -1;
    if (p >= 0 && forward_[p].name() == "all_gather") return regather_;
    if (p < 0 || forward_[p].block < 0 || recompute_ == Recompute::kNone) return false;
    return recompute_ == Recompute::kFull || is_cheap(forward_[p].name());
  }

  // v as the backward region reads it. A block's own output is kept as the next block's input, never computed again for it.
  ValueId kept(ValueId v) {
    if (!recomputed(v) || forward_[uses_.producer[v]].block != op().block) return v;
    if (const auto found = copies_.find(v); found != copies_.end()) return found->second;
    Op copy = forward_[uses_.producer[v]];
    for (ValueId& input : copy.inputs)
      if (input != 0) input = kept(input);
    for (ValueId& output : copy.outputs)
      if (output != 0) {
        Value value = graph_.value(output);
        output = copies_[output] = graph_.add_value(std::move(value));
      }
    copy.phase = Phase::kRecompute;
    graph_.ops.push_back(std::move(copy));
    return copies_[v];
  }

  Graph& graph_;
  const Recompute recompute_;
  const bool regather_;
  Stages* stages_;
  const Uses uses_;
  const std::vector<Op> forward_;
  std::vector<bool> needed_;
  size_t at_ = 0;
  std::set<ValueId> asked_;  // results of the op at hand whose gradient its rule took
  std::map<ValueId, std::vector<ValueId>> contributions_;
  std::map<ValueId, std::vector<SlicePart>> slices_;
  std::map<ValueId, ValueId> copies_;
};

}  // namespace

void differentiate(Graph& graph, Recompute recompute, Stages* stages, bool regather) {
  Differentiator(graph, recompute, stages, regather).run();
}

}  // namespace nemo::passes

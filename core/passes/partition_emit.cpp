#include "core/passes/partition_emit.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "core/base/error.hpp"

namespace nemo::passes {
namespace {

using graph::Attrs;
using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::Parameter;
using graph::ValueId;
using graph::ValueKind;

class Emitter {
 public:
  Emitter(Graph& graph, const Rules& rules, const Decisions& decisions)
      : graph_(graph), rules_(rules), decisions_(decisions), known_(graph.values.size()) {
    current_.resize(known_);
    std::iota(current_.begin(), current_.end(), ValueId{0});
    conversions_.resize(known_);
    for (size_t v = 0; v < known_; ++v) global_.push_back(graph.values[v].dims);
  }

  void run() {
    localize_leaves();
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    for (size_t i = 0; i < ops.size(); ++i) {
      if (rules_.parameter_axis() >= 0 && (i == 0 || ops[i].block != ops[i - 1].block)) gather_parameters(ops, i);
      emit_op(ops[i], decisions_.ops[i]);
    }
    for (auto& [name, id] : graph_.outputs) id = current_[id];
  }

 private:
  // One conversion of a value, for the consumers that need the same.
  struct Conversion {
    Placement needed;
    MeshMask copies;
    ValueId result;
  };

  [[nodiscard]] Dims local(ValueId value, const Placement& placement) const {
    return rules_.local(global_[value], placement, [&] { return "value '" + graph_.value(value).name + "'"; });
  }

  void localize_leaves() {
    for (size_t v = 1; v < known_; ++v)
      if (graph_.values[v].kind != ValueKind::kResult) graph_.values[v].dims = local(static_cast<ValueId>(v), decisions_.placed[v]);
    const int m = rules_.parameter_axis();
    for (size_t p = 0; p < graph_.parameters.size(); ++p) {
      Parameter& parameter = graph_.parameters[p];
      parameter.dims = graph_.value(parameter.value).dims;
      whole_.push_back(parameter.dims);
      MeshMask partial = parameter.trainable ? decisions_.gradient_partial[p] : 0;
      if (m >= 0) partial &= ~bit(m);
      parameter.gradient_partial = rules_.names(partial);
      if (m >= 0) flatten(parameter);
    }
  }

  void flatten(Parameter& parameter) {
    const int m = rules_.parameter_axis();
    const int64_t n = graph::element_count(parameter.dims);
    parameter.dims = {{(n + rules_.size(m) - 1) / rules_.size(m), "flat", {rules_.name(m)}}};
    graph_.value(parameter.value).dims = parameter.dims;
  }

  // Appends an op that is not the model's, in the place of `like`. `result` preset: the op's only output.
  Op& append(std::string_view name, std::vector<ValueId> inputs, Attrs attrs, const Op& like, ValueId result = 0) {
    graph::OpRequest request{name, std::move(inputs), std::move(attrs), {}, {}};
    if (result != 0) request.preset_outputs = {result};
    Op op = graph::make_op(graph_, std::move(request), like.scope);
    op.block = like.block;
    graph_.ops.push_back(std::move(op));
    return graph_.ops.back();
  }

  ValueId result_like(ValueId source, Dims dims) {
    return graph_.add_value({ValueKind::kResult, "", graph_.value(source).dtype, std::move(dims), {}});
  }

  // The run of ops from `first` on with one block reads these parameters: gather each once.
  void gather_parameters(const std::vector<Op>& ops, size_t first) {
    std::vector<uint32_t> used;
    for (size_t i = first; i < ops.size() && ops[i].block == ops[first].block; ++i)
      for (const ValueId v : ops[i].inputs)
        if (v != 0 && graph_.value(v).kind == ValueKind::kParameter)
          used.insert(used.end(), graph_.value(v).members.begin(), graph_.value(v).members.end());
    std::sort(used.begin(), used.end());
    used.erase(std::unique(used.begin(), used.end()), used.end());
    const int m = rules_.parameter_axis();
    Op like;
    like.block = ops[first].block;
    if (like.block >= 0) {
      const graph::Block& block = graph_.blocks[static_cast<size_t>(like.block)];
      like.scope = block.kind + "." + std::to_string(block.index) + ".";
    }
    like.scope += "gather";
    for (const uint32_t p : used) {
      const Parameter& parameter = graph_.parameters[p];
      if (parameter.trainable && (decisions_.gradient_partial[p] & bit(m)) == 0)
        throw Error(Code::kConfig, "shard_parameters = '" + rules_.name(m) + "': parameter '" + parameter.name +
                                       "' is used alike by all ranks of mesh axis '" + rules_.name(m) +
                                       "', so that gathering it would count its gradient " + std::to_string(rules_.size(m)) +
                                       " times; add the rule 'batch -> " + rules_.name(m) + "'");
      const ValueId whole = result_like(parameter.value, whole_[p]);
      append("all_gather", {parameter.value}, {{"mesh", rules_.name(m)}, {"dim", int64_t{0}}}, like, whole);
      current_[parameter.value] = whole;
      conversions_[parameter.value].clear();
    }
  }

  void emit_op(Op& op, const OpDecision& decision) {
    const Op like = op;
    for (size_t i = 0; i < op.inputs.size(); ++i)
      if (op.inputs[i] != 0) op.inputs[i] = convert(like, i, decision.inputs[i]);
    if (decision.form == OpForm::kVocabularyLoss) return emit_vocabulary_loss(op, decision);
    if (op.name() == "linear" && op.inputs[2] != 0 && decision.outputs[0].partial != 0)
      op.inputs[2] = share(op.inputs[2], decision.outputs[0].partial, like);
    if (op.name() == "embedding" && !decision.inputs[1].needed[0].empty())
      op.attrs["shard_offset"] = op.int_attr("shard_offset") + offset(op.inputs[1], 0, decision.inputs[1].needed[0]);
    for (size_t o = 0; o < op.outputs.size(); ++o)
      if (const ValueId v = op.outputs[o]; v != 0) graph_.value(v).dims = local(v, decision.outputs[o].raw);
    graph_.ops.push_back(std::move(op));
    for (size_t o = 0; o < like.outputs.size(); ++o)
      if (like.outputs[o] != 0) current_[like.outputs[o]] = complete(like, like.outputs[o], decision.outputs[o]);
  }

  // First global index of this rank's part of dimension `d` of a value that is already local.
  [[nodiscard]] int64_t offset(ValueId value, size_t d, const MeshIds& ids) const {
    return rules_.part(ids) * graph_.value(value).dims[d].size;
  }

  // value / n, so that the sum over the ranks of `axes` is the value.
  ValueId share(ValueId value, MeshMask axes, const Op& like) {
    int64_t n = 1;
    for (int m = 0; m < rules_.axes(); ++m)
      if ((axes & bit(m)) != 0) n *= rules_.size(m);
    return append("scale", {value}, {{"alpha", 1.0 / static_cast<double>(n)}}, like).outputs[0];
  }

  // The collectives that turn a partial sum into the value as decided.
  ValueId complete(const Op& like, ValueId value, const OutputDecision& decision) {
    const ValueId model_value = value;
    Placement placement = decision.raw;
    for (int m = 0; m < rules_.axes(); ++m) {
      if ((decision.partial & bit(m)) == 0) continue;
      const int d = dimension_of(decision.final, m);
      if (d < 0) {
        value =
            append("all_reduce", {value}, {{"mesh", rules_.name(m)}}, like, result_like(value, local(model_value, placement))).outputs[0];
        continue;
      }
      placement[static_cast<size_t>(d)].push_back(m);
      const ValueId result = result_like(value, local(model_value, placement));
      value = append("reduce_scatter", {value}, {{"mesh", rules_.name(m)}, {"dim", int64_t{d}}}, like, result).outputs[0];
    }
    return value;
  }

  ValueId convert(const Op& op, size_t i, const InputDecision& decision) {
    const ValueId source = op.inputs[i];
    const bool differentiable = decisions_.differentiable[source];
    MeshMask complete_elsewhere = 0;
    for (const uint32_t p : decisions_.roots[source]) complete_elsewhere |= ~decisions_.gradient_partial[p];
    const MeshMask deferred = decisions_.roots[source].empty() ? 0 : ~complete_elsewhere;
    const MeshMask split = mask_of(decisions_.placed[source]) | mask_of(decision.needed);
    const MeshMask copies = differentiable ? decision.partial & ~deferred & ~split : 0;
    for (const Conversion& known : conversions_[source])
      if (known.needed == decision.needed && known.copies == copies) return known.result;
    const ValueId result = convert_along_axes(op, i, decision, copies);
    conversions_[source].push_back({decision.needed, copies, result});
    return result;
  }

  ValueId convert_along_axes(const Op& op, size_t i, const InputDecision& decision, MeshMask copies) {
    const ValueId source = op.inputs[i];
    ValueId value = current_[source];
    Placement placement = decisions_.placed[source];
    for (int m = rules_.axes() - 1; m >= 0; --m) {
      const int from = dimension_of(placement, m), to = dimension_of(decision.needed, m);
      if (from >= 0 && from != to) value = gather(op, i, value, placement, m, decision);
    }
    for (int m = 0; m < rules_.axes(); ++m) {
      const int from = dimension_of(placement, m), to = dimension_of(decision.needed, m);
      const bool slices = to >= 0 && from < 0;
      if ((copies & bit(m)) != 0 || (slices && decisions_.differentiable[source]))
        value = append("copy_to", {value}, {{"mesh", rules_.name(m)}}, op, result_like(value, graph_.value(value).dims)).outputs[0];
      if (slices) value = slice(op, i, value, placement, m, static_cast<size_t>(to));
    }
    return value;
  }

  [[noreturn]] void refuse(const Op& op, size_t i, int d, int m, const std::string& why) const {
    throw Error(Code::kUnsupported, place_of(op) + ": input '" + op.row->inputs[i].name + "' is split over mesh axis '" + rules_.name(m) +
                                        "' along axis '" + global_[op.inputs[i]][static_cast<size_t>(d)].axis + "', " + why +
                                        "; change the strategy's rules for this axis");
  }

  // The gradient of all_gather sums over the ranks, which is right only where each of them uses the gathered value for another part of the
  // op's work.
  ValueId gather(const Op& op, size_t i, ValueId value, Placement& placement, int m, const InputDecision& decision) {
    const int d = dimension_of(placement, m);
    if (decisions_.differentiable[op.inputs[i]] && (decision.partial & bit(m)) == 0)
      refuse(op, i, d, m, "the op needs it whole, and nothing else in the op is split over '" + rules_.name(m) + "'");
    MeshIds& ids = placement[static_cast<size_t>(d)];
    if (ids.back() != m) refuse(op, i, d, m, "which is not the innermost of the mesh axes along it, and only that can be gathered");
    ids.pop_back();
    const ValueId result = result_like(value, local(op.inputs[i], placement));
    return append("all_gather", {value}, {{"mesh", rules_.name(m)}, {"dim", int64_t{d}}}, op, result).outputs[0];
  }

  ValueId slice(const Op& op, size_t i, ValueId value, Placement& placement, int m, size_t d) {
    MeshIds& ids = placement[d];
    if (!ids.empty() && ids.back() > m)
      refuse(op, i, static_cast<int>(d), ids.back(), "and would have to be split over '" + rules_.name(m) + "' outside it");
    ids.push_back(m);
    const Dims dims = local(op.inputs[i], placement);
    const ValueId result = result_like(value, dims);
    Attrs attrs{{"dim", static_cast<int64_t>(d)}, {"start", rules_.coordinate(m) * dims[d].size}, {"length", dims[d].size}};
    return append("slice", {value}, std::move(attrs), op, result).outputs[0];
  }

  ValueId reduce_over(ValueId value, const MeshIds& ids, std::string_view how, const Op& like) {
    for (const int m : ids) {
      Attrs attrs{{"mesh", rules_.name(m)}};
      if (how != "sum") attrs["op"] = std::string(how);
      value = append("all_reduce", {value}, std::move(attrs), like, result_like(value, graph_.value(value).dims)).outputs[0];
    }
    return value;
  }

  void emit_vocabulary_loss(const Op& op, const OpDecision& decision) {
    const ValueId logits = op.inputs[0], labels = op.inputs[1];
    const MeshIds& ids = decision.inputs[0].needed.back();
    const ValueId max = reduce_over(append("row_max", {logits}, {}, op).outputs[0], ids, "max", op);
    const int64_t first = offset(logits, graph_.value(logits).dims.size() - 1, ids);
    const std::vector<ValueId> parts = append("cross_entropy_parts", {logits, labels, max}, {{"shard_offset", first}}, op).outputs;
    const ValueId sumexp = reduce_over(parts[0], ids, "sum", op), target = reduce_over(parts[1], ids, "sum", op);
    Op join = op;
    join.row = &graph::op_row("cross_entropy_join");
    join.inputs = {sumexp, target, max, labels};
    std::erase_if(join.attrs, [&](const auto& attr) { return join.row->attribute(attr.first) == nullptr; });
    for (size_t o = 0; o < op.outputs.size(); ++o)
      if (op.outputs[o] != 0) graph_.value(op.outputs[o]).dims = local(op.outputs[o], decision.outputs[o].final);
    graph_.ops.push_back(std::move(join));
  }

  Graph& graph_;
  const Rules& rules_;
  const Decisions& decisions_;
  size_t known_;                                      // values of the model's graph
  std::vector<Dims> global_;                          // their whole dimensions
  std::vector<Dims> whole_;                           // of parameters, this rank's part once gathered
  std::vector<ValueId> current_;                      // the value that holds them now
  std::vector<std::vector<Conversion>> conversions_;  // of each, made so far
};

}  // namespace

void emit(Graph& graph, const Rules& rules, const Decisions& decisions) { Emitter(graph, rules, decisions).run(); }

}  // namespace nemo::passes

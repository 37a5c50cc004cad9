#include "core/ops/gradients.hpp"

#include <unordered_map>

#include "core/base/error.hpp"
#include "core/ops/gradient_families.hpp"

namespace nemo::ops {
namespace {

using graph::Attrs;
using graph::ValueId;

void embedding(Backward& b) {
  Attrs attrs = attrs_of(b.op(), {"shard_offset"});
  attrs["rows"] = b.graph().value(b.op().inputs[1]).dims[0].size;
  if (!b.needs(1)) return;
  const ValueId buffer = b.buffer(1);
  const ValueId out = buffer != 0 ? buffer : b.result_like(1, b.graph().gradient_dtype);
  b.give(1, b.emit({"embedding_grad", {b.dout(0), b.in(0)}, attrs, {out}})[0]);
}

void linear(Backward& b) {
  const Attrs contract = attrs_of(b.op(), {"contract"});
  if (b.needs(0)) give_one(b, 0, "linear_dgrad", {b.dout(0), b.in(1)}, contract);
  if (b.needs(1)) give_one(b, 1, "linear_wgrad", {b.dout(0), b.in(0)}, contract);
  if (b.needs(2)) give_one(b, 2, "bias_grad", {b.dout(0)}, {{"axes", static_cast<int64_t>(b.graph().value(b.op().inputs[2]).dims.size())}});
}

// Shared by both norms: x is input 0, weight 1, bias 2; outputs of the gradient op are dx, dw[, db].
void norm(Backward& b, std::string_view name, std::vector<ValueId> inputs, size_t weights) {
  std::vector<ValueId> preset{0};
  std::vector<bool> skip{false};
  for (size_t i = 1; i <= weights; ++i) preset.push_back(b.buffer(i)), skip.push_back(!b.needs(i));
  const auto out = b.emit({name, std::move(inputs), attrs_of(b.op(), {"zero_centered"}), preset, skip});
  if (b.needs(0)) b.give(0, out[0]);
  for (size_t i = 1; i <= weights; ++i)
    if (b.needs(i)) b.give(i, out[i]);
}

void rms_norm(Backward& b) { norm(b, "rms_norm_grad", {b.dout(0), b.in(0), b.in(1), b.out(1)}, 1); }
void layer_norm(Backward& b) { norm(b, "layer_norm_grad", {b.dout(0), b.in(0), b.in(1), b.out(1), b.out(2)}, 2); }

void rope(Backward& b) {
  Attrs attrs = b.op().attrs;
  attrs["inverse"] = 1 - b.op().int_attr("inverse");
  give_one(b, 0, "rope", {b.dout(0), b.in(1)}, attrs);
}

void activation(Backward& b) { give_one(b, 0, "activation_grad", {b.dout(0), b.in(0)}, b.op().attrs); }

void glu(Backward& b) {
  const auto out = b.emit({"glu_grad", {b.dout(0), b.in(0), b.in(1)}, b.op().attrs});
  for (size_t i = 0; i < 2; ++i)
    if (b.needs(i)) b.give(i, out[i]);
}

void add(Backward& b) {
  for (size_t i = 0; i < 2; ++i)
    if (b.needs(i)) b.give(i, b.dout(0));
}

void mul(Backward& b) {
  for (size_t i = 0; i < 2; ++i)
    if (b.needs(i)) b.give(i, b.emit({"mul", {b.dout(0), b.in(1 - i)}})[0]);
}

void scale(Backward& b) { b.give(0, b.emit({"scale", {b.dout(0)}, b.op().attrs})[0]); }
void dropout(Backward& b) { b.give(0, b.emit({"dropout", {b.dout(0), b.in(1)}, b.op().attrs})[0]); }
void softmax(Backward& b) { b.give(0, b.emit({"softmax_grad", {b.dout(0), b.out(0)}})[0]); }
void sum(Backward& b) { b.give(0, b.emit({"broadcast", {b.dout(0), b.in(0)}})[0]); }

void cast(Backward& b) {
  const auto dtype = b.graph().value(b.op().inputs[0]).dtype;
  b.give(0, b.emit({"cast", {b.dout(0)}, {{"dtype", std::string(to_string(dtype))}}})[0]);
}

void cross_entropy(Backward& b) { b.give(0, b.emit({"cross_entropy_grad", {b.dout(0), b.in(0), b.in(1), b.out(1)}, b.op().attrs})[0]); }

void copy_to(Backward& b) { b.give(0, b.emit({"all_reduce", {b.dout(0)}, attrs_of(b.op(), {"mesh"})})[0]); }
void all_reduce(Backward& b) { b.give(0, b.dout(0)); }

// Gather and scatter are each other's gradient; the result has the shape of the forward input.
void exchange(Backward& b, std::string_view name) {
  const ValueId dy = b.dout(0), out = b.result_like(0, b.graph().value(dy).dtype);
  b.give(0, b.emit({name, {dy}, attrs_of(b.op(), {"mesh", "dim"}), {out}})[0]);
}
void all_gather(Backward& b) { exchange(b, "reduce_scatter"); }
void reduce_scatter(Backward& b) { exchange(b, "all_gather"); }

void chunks(Backward& b, std::string_view name) {
  const ValueId dy = b.dout(0), out = b.result_like(0, b.graph().value(dy).dtype);
  b.give(0, b.emit({name, {dy}, b.op().attrs, {out}})[0]);
}
void take_chunks(Backward& b) { chunks(b, "put_chunks"); }
void put_chunks(Backward& b) { chunks(b, "take_chunks"); }

void slice(Backward& b) { b.give_slice(b.dout(0)); }

// The loss over a sharded vocabulary is one function of three ops: what reaches the join's sums is the gradient of the loss itself (the
// sums over the ranks pass it through), and the parts turn it into that of this rank's logits.
void cross_entropy_join(Backward& b) { b.give(0, b.dout(0)); }

// The join that the sums of these parts flow into.
const graph::Op& join_of(const Backward& b, const graph::Op& parts) {
  const graph::Graph& g = b.graph();
  ValueId sums = parts.outputs[0];
  for (const graph::Op& op : g.ops) {
    if (op.name() == "all_reduce" && op.inputs[0] == sums) sums = op.outputs[0];
    if (op.name() == "cross_entropy_join" && op.inputs[0] == sums) return op;
  }
  throw Error(Code::kUnsupported, parts.scope + ": cross_entropy_parts has a gradient only where a cross_entropy_join reads its sums");
}

void cross_entropy_parts(Backward& b) {
  const graph::Op& join = join_of(b, b.op());
  Attrs attrs = attrs_of(b.op(), {"shard_offset"});
  attrs.merge(attrs_of(join, {"ignore_index", "z_loss"}));
  b.give(0, b.emit({"cross_entropy_shard_grad", {b.dout(0), b.in(0), b.in(1), join.outputs[1]}, attrs})[0]);
}

std::unordered_map<std::string_view, GradientRule> make_table() {
  std::unordered_map<std::string_view, GradientRule> rules{
      {"embedding", embedding},
      {"linear", linear},
      {"rms_norm", rms_norm},
      {"layer_norm", layer_norm},
      {"rope", rope},
      {"activation", activation},
      {"glu", glu},
      {"add", add},
      {"mul", mul},
      {"scale", scale},
      {"cast", cast},
      {"dropout", dropout},
      {"softmax", softmax},
      {"sum", sum},
      {"cross_entropy", cross_entropy},
      {"copy_to", copy_to},
      {"all_reduce", all_reduce},
      {"all_gather", all_gather},
      {"reduce_scatter", reduce_scatter},
      {"slice", slice},
      {"take_chunks", take_chunks},
      {"put_chunks", put_chunks},
      {"cross_entropy_join", cross_entropy_join},
      {"cross_entropy_parts", cross_entropy_parts},
      {"row_max", nullptr},
  };
  for (const GradientFamily& family : {attention_rules(), mixture_rules(), state_space_rules()}) rules.insert(family.begin(), family.end());
  return rules;
}

const std::unordered_map<std::string_view, GradientRule>& table() {
  static const std::unordered_map<std::string_view, GradientRule> rules = make_table();
  return rules;
}

}  // namespace

GradientRule gradient_rule(std::string_view op) {
  const auto found = table().find(op);
  if (found == table().end()) throw Error(Code::kUnsupported, "op '" + std::string(op) + "' has no gradient");
  return found->second;
}

}  // namespace nemo::ops

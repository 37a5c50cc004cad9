// Gradients of attention and of what makes its inputs.
#include "core/ops/gradient_families.hpp"

namespace nemo::ops {
namespace {

void attention(Backward& b) {
  std::vector<graph::ValueId> inputs{b.dout(0), b.in(0), b.in(1), b.in(2), b.out(0), b.out(1)};
  for (size_t i = 3; i < b.op().inputs.size(); ++i) inputs.push_back(b.in(i));
  give_many(b, "attention_grad", std::move(inputs), b.op().attrs, {0, 1, 2, 4, 5});
}

void relative_bias(Backward& b) {
  graph::Attrs attrs = attrs_of(b.op(), {"bidirectional", "max_distance"});
  attrs["v"] = size_of_input(b, 0, 0);
  give_one(b, 0, "relative_bias_grad", {b.dout(0)}, std::move(attrs));
}

void head_concat(Backward& b) {
  give_many(b, "head_concat_grad", {b.dout(0)},
            {{"d", size_of_input(b, 0, 3)}, {"m", size_of_input(b, 1, 2)}, {"r", size_of_input(b, 1, 3)}}, {0, 1});
}

void take_token(Backward& b) {
  graph::Attrs attrs = attrs_of(b.op(), {"index", "part"});
  attrs["s"] = size_of_input(b, 0, 1);
  give_one(b, 0, "take_token_grad", {b.dout(0)}, std::move(attrs));
}

void ring_attention(Backward& b) {
  give_many(b, "ring_attention_grad", {b.dout(0), b.dout(2), b.in(0), b.in(1), b.in(2), b.in(3), b.out(0), b.out(1), b.out(2), b.out(3)},
            b.op().attrs, {0, 1, 2, 3});
}

// What was split is joined and the other way round.
void all_to_all(Backward& b) {
  const graph::ValueId dy = b.dout(0), out = b.result_like(0, b.graph().value(dy).dtype);
  graph::Attrs attrs = attrs_of(b.op(), {"mesh"});
  attrs["split_dim"] = b.op().int_attr("concat_dim"), attrs["concat_dim"] = b.op().int_attr("split_dim");
  b.give(0, b.emit({"all_to_all", {dy}, std::move(attrs), {out}})[0]);
}

}  // namespace

GradientFamily attention_rules() {
  return {{"attention", attention},   {"relative_bias", relative_bias},   {"head_concat", head_concat},
          {"take_token", take_token}, {"ring_attention", ring_attention}, {"all_to_all", all_to_all}};
}

}  // namespace nemo::ops

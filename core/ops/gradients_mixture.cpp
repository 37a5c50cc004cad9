// Gradients of the mixture-of-experts ops.
#include "core/ops/gradient_families.hpp"

namespace nemo::ops {
namespace {

void route(Backward& b) {
  give_one(b, 0, "moe_route_grad", {b.dout(0), b.in(0), b.out(1)}, attrs_of(b.op(), {"score", "renormalize", "scaling"}));
}

void load(Backward& b) { give_one(b, 0, "moe_load_grad", {b.dout(0), b.in(0)}, b.op().attrs); }
void balance(Backward& b) { give_one(b, 0, "moe_balance_grad", {b.dout(0), b.in(1)}); }
void z_loss(Backward& b) { give_one(b, 0, "moe_z_loss_grad", {b.dout(0), b.in(0)}); }
void add_loss(Backward& b) {
  if (b.needs(0)) b.give(0, b.dout(0));
  give_one(b, 1, "add_loss_grad", {b.dout(0), b.in(2)}, attrs_of(b.op(), {"coefficient", "ignore_index", "quotient"}));
}
void dispatch(Backward& b) { give_one(b, 0, "moe_dispatch_grad", {b.dout(0), b.out(2)}); }
void combine(Backward& b) { give_many(b, "moe_combine_grad", {b.dout(0), b.in(0), b.in(1), b.in(2)}, {}, {0, 2}); }

void grouped_linear(Backward& b) {
  const graph::Attrs attrs = attrs_of(b.op(), {"contract", "shard_offset"});
  if (b.needs(0)) give_one(b, 0, "grouped_linear_dgrad", {b.dout(0), b.in(1), b.in(2)}, attrs);
  if (b.needs(2)) {
    graph::Attrs weight = attrs;
    weight["e"] = size_of_input(b, 2, 0);
    give_one(b, 2, "grouped_linear_wgrad", {b.dout(0), b.in(1), b.in(0)}, std::move(weight));
  }
  if (b.needs(3)) {
    graph::Attrs bias = attrs_of(b.op(), {"shard_offset"});
    bias["e"] = size_of_input(b, 3, 0);
    give_one(b, 3, "grouped_bias_grad", {b.dout(0), b.in(1)}, std::move(bias));
  }
}

void exchange(Backward& b) { give_one(b, 0, "moe_exchange_back", {b.dout(0), b.in(1), b.in(2)}, attrs_of(b.op(), {"mesh"})); }
void exchange_back(Backward& b) {
  graph::Attrs attrs = attrs_of(b.op(), {"mesh"});
  attrs["r"] = size_of_input(b, 0, 0);
  give_one(b, 0, "moe_exchange", {b.dout(0), b.in(1), b.in(2)}, std::move(attrs));
}

void row_scale(Backward& b) { give_many(b, "row_scale_grad", {b.dout(0), b.in(0), b.in(1)}, {}, {0, 1}); }
void clamped_glu(Backward& b) { give_many(b, "clamped_glu_grad", {b.dout(0), b.in(0), b.in(1)}, b.op().attrs, {0, 1}); }

}  // namespace

GradientFamily mixture_rules() {
  return {{"moe_route", route},
          {"moe_load", load},
          {"moe_balance", balance},
          {"moe_z_loss", z_loss},
          {"add_loss", add_loss},
          {"moe_dispatch", dispatch},
          {"moe_combine", combine},
          {"grouped_linear", grouped_linear},
          {"row_scale", row_scale},
          {"clamped_glu", clamped_glu},
          {"moe_exchange_plan", nullptr},
          {"moe_exchange", exchange},
          {"moe_exchange_back", exchange_back}};
}

}  // namespace nemo::ops

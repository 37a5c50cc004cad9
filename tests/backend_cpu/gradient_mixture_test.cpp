#include "tests/backend_cpu/gradient.hpp"

namespace nemo::backend_cpu {
namespace {

Array zeros(const Shape& s) { return Array(F64, s); }
Array random(const Shape& s, uint64_t seed, double deviation = 1) { return normal_array(F64, s, seed, deviation); }
Arrays op(const std::string& name, const Arrays& in, Arrays out, const Attrs& attrs = {}) {
  return device().apply(name, in, std::move(out), attrs);
}

Differentiable route(const char* score, int renormalize, bool grouped) {
  const Shape logits{11, 8}, chosen{11, 3};
  const Array bias = grouped ? random({8}, 7, 0.1) : Array();
  const Attrs forward{{"k", 3},
                      {"score", score},
                      {"renormalize", renormalize},
                      {"scaling", 1.5},
                      {"groups", 4},
                      {"group_topk", grouped ? 2 : 4},
                      {"group_top", grouped ? 2 : 1}};
  const Attrs backward{{"score", score}, {"renormalize", renormalize}, {"scaling", 1.5}};
  auto run = [=](const Arrays& v) { return op("moe_route", {v[0], bias}, {zeros(chosen), Array(I32, chosen)}, forward); };
  return {std::string("moe_route ") + score,
          {random(logits, 1)},
          [=](const Arrays& v) { return Arrays{run(v)[0]}; },
          [=](const Arrays& v, const Arrays& d) {
            return op("moe_route_grad", {d[0], v[0], run(v)[1]}, {zeros(logits)}, backward);
          }};
}

Array choices(const Shape& shape, int64_t experts) {
  Array a(I32, shape);
  for (int64_t i = 0; i < a.size(); ++i) a.set(i, static_cast<double>(i * 5 % 7 % experts));
  return a;
}

Differentiable balance(const char* score, int axes) {
  const Shape logits{3, 5, 6}, each = axes == 1 ? Shape{3, 6} : Shape{6};
  const Array chosen = choices({3, 5, 2}, 6);
  const Attrs attrs{{"score", score}, {"axes", axes}};
  auto load = [=](const Arrays& v) { return op("moe_load", {v[0], chosen}, {zeros(each), zeros(each)}, attrs); };
  return {std::string("moe_balance ") + score,
          {random(logits, 1)},
          [=](const Arrays& v) { return op("moe_balance", load(v), {zeros({})}); },
          [=](const Arrays& v, const Arrays& d) {
            const Array dprob = op("moe_balance_grad", {d[0], load(v)[1]}, {zeros(each)})[0];
            return op("moe_load_grad", {dprob, v[0]}, {zeros(logits)}, attrs);
          }};
}

Differentiable z_loss() {
  return {"moe_z_loss",
          {random({7, 5}, 1)},
          [](const Arrays& v) { return op("moe_z_loss", v, {zeros({})}); },
          [](const Arrays& v, const Arrays& d) {
            return op("moe_z_loss_grad", {d[0], v[0]}, {zeros({7, 5})});
          }};
}

Differentiable added_loss() {
  const Array labels(I32, {4}, {1, -100, 5, 0});
  const Attrs attrs{{"coefficient", 0.3}};
  return {"add_loss",
          {random({}, 1), random({}, 2)},
          [=](const Arrays& v) {
            return op("add_loss", {v[0], v[1], labels}, {zeros({})}, attrs);
          },
          [=](const Arrays&, const Arrays& d) {
            return Arrays{d[0], op("add_loss_grad", {d[0], labels}, {zeros({})}, attrs)[0]};
          }};
}

// Tokens to rows, an expert's linear, and back.
Differentiable experts(int shard_offset) {
  const Shape x{2, 5, 4}, rows{2, 5, 2, 4}, y{2, 5, 2, 3}, out{2, 5, 3}, k{2, 5, 2}, w{4, 3, 4}, bias{4, 3};
  const Array chosen = choices(k, 6);
  const Attrs shard{{"shard_offset", shard_offset}};
  struct Forward {
    Arrays dispatched;
    Array y;
  };
  auto run = [=](const Arrays& v) {
    const Arrays d = op("moe_dispatch", {v[0], chosen}, {zeros(rows), Array(I32, k), Array(I32, k)}, {{"experts", 6}});
    return Forward{d, op("grouped_linear", {d[0], d[1], v[1], v[2]}, {zeros(y)}, shard)[0]};
  };
  return {"experts",
          {random(x, 1), random(w, 2), random(bias, 3), random(k, 4)},
          [=](const Arrays& v) {
            const Forward f = run(v);
            return op("moe_combine", {f.y, f.dispatched[2], v[3]}, {zeros(out)});
          },
          [=](const Arrays& v, const Arrays& d) {
            const Forward f = run(v);
            const Array &ids = f.dispatched[1], &slots = f.dispatched[2];
            const Arrays c = op("moe_combine_grad", {d[0], f.y, slots, v[3]}, {zeros(y), zeros(k)});
            const Attrs sized{{"shard_offset", shard_offset}, {"e", 4}};
            const Array drows = op("grouped_linear_dgrad", {c[0], ids, v[1]}, {zeros(rows)}, shard)[0];
            return Arrays{op("moe_dispatch_grad", {drows, slots}, {zeros(x)})[0],
                          op("grouped_linear_wgrad", {c[0], ids, f.dispatched[0]}, {zeros(w)}, sized)[0],
                          op("grouped_bias_grad", {c[0], ids}, {zeros(bias)}, sized)[0], c[1]};
          }};
}

std::vector<Differentiable> rows() {
  const Shape a{5, 7};
  std::vector<Differentiable> f;
  f.push_back({"row_scale",
               {random(a, 1), random({5}, 2)},
               [=](const Arrays& v) { return op("row_scale", v, {zeros(a)}); },
               [=](const Arrays& v, const Arrays& d) {
                 return op("row_scale_grad", {d[0], v[0], v[1]}, {zeros(a), zeros({5})});
               }});
  const Attrs limit{{"limit", 0.8}, {"alpha", 1.3}};
  f.push_back({"clamped_glu",
               {random(a, 1), random(a, 2)},
               [=](const Arrays& v) { return op("clamped_glu", v, {zeros(a)}, limit); },
               [=](const Arrays& v, const Arrays& d) {
                 return op("clamped_glu_grad", {d[0], v[0], v[1]}, {zeros(a), zeros(a)}, limit);
               }});
  f.push_back({"head_concat",
               {random({2, 3, 4, 5}, 1), random({2, 3, 1, 2}, 2)},
               [](const Arrays& v) {
                 return op("head_concat", v, {zeros({2, 3, 4, 7})}, {{"f", 7}});
               },
               [](const Arrays&, const Arrays& d) {
                 return op("head_concat_grad", d, {zeros({2, 3, 4, 5}), zeros({2, 3, 1, 2})}, {{"d", 5}, {"m", 1}, {"r", 2}});
               }});
  f.push_back({"take_token",
               {random({2, 3, 4}, 1)},
               [](const Arrays& v) {
                 return op("take_token", v, {zeros({2, 4})}, {{"index", 1}});
               },
               [](const Arrays&, const Arrays& d) {
                 return op("take_token_grad", d, {zeros({2, 3, 4})}, {{"index", 1}, {"s", 3}});
               }});
  const Attrs buckets{{"s", 9}, {"t", 12}, {"max_distance", 7}}, back{{"v", 6}, {"max_distance", 7}};
  f.push_back({"relative_bias",
               {random({6, 2}, 1)},
               [=](const Arrays& v) {
                 return op("relative_bias", v, {zeros({2, 9, 12})}, buckets);
               },
               [=](const Arrays&, const Arrays& d) {
                 return op("relative_bias_grad", d, {zeros({6, 2})}, back);
               }});
  return f;
}

TEST(Gradient, of_routing_matches_central_difference) {
  for (const char* score : {"softmax", "sigmoid"})
    for (const int renormalize : {0, 1})
      for (const bool grouped : {false, true}) expect_gradient(route(score, renormalize, grouped));
}
TEST(Gradient, of_router_losses_matches_central_difference) {
  for (const char* score : {"softmax", "sigmoid"})
    for (const int axes : {0, 1}) expect_gradient(balance(score, axes));
  expect_gradient(z_loss());
  expect_gradient(added_loss());
}
TEST(Gradient, of_experts_matches_central_difference) {
  for (const int shard_offset : {0, 1}) expect_gradient(experts(shard_offset));
}
TEST(Gradient, of_ops_on_rows_matches_central_difference) {
  for (const Differentiable& f : rows()) expect_gradient(f);
}

TEST(Route, a_router_that_gives_no_numbers_is_an_error) {
  const Array logits(F32, {2, 3}, {1, 2, 3, NAN, NAN, NAN});
  EXPECT_THROW(device().apply("moe_route", {logits, Array()}, {Array(F32, {2, 2}), Array(I32, {2, 2})}, {{"k", 2}}), std::runtime_error);
}
TEST(Dispatch, rows_are_sorted_by_expert_and_keep_the_order_of_tokens) {
  const Array x(F32, {3, 1}, {10, 20, 30}), chosen(I32, {3, 2}, {2, 0, 1, 2, 0, 1});
  const Arrays y =
      device().apply("moe_dispatch", {x, chosen}, {Array(F32, {3, 2, 1}), Array(I32, {3, 2}), Array(I32, {3, 2})}, {{"experts", 4}});
  EXPECT_EQ(y[0].values(), (std::vector<double>{10, 30, 20, 30, 10, 20}));
  EXPECT_EQ(y[1].values(), (std::vector<double>{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(y[2].values(), (std::vector<double>{4, 0, 2, 5, 1, 3}));
}

}  // namespace
}  // namespace nemo::backend_cpu

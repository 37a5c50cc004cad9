#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

struct RouteCase {
  const char* name;
  const char* score;
  int renormalize, groups, group_topk, group_top;
  double scaling;
};

class Route : public ::testing::TestWithParam<RouteCase> {};

TEST_P(Route, weights_experts_and_gradient_equal_the_golden_file) {
  const RouteCase& p = GetParam();
  const Golden g(std::string("moe/") + p.name);
  const Attrs forward{{"k", 2},
                      {"score", p.score},
                      {"renormalize", p.renormalize},
                      {"scaling", p.scaling},
                      {"groups", p.groups},
                      {"group_topk", p.group_topk},
                      {"group_top", p.group_top}};
  const Attrs backward{{"score", p.score}, {"renormalize", p.renormalize}, {"scaling", p.scaling}};
  for (const nemo_dtype d : {F32, F64}) {
    const Array logits = g.get("in.logits", d), bias = g.has("const.bias") ? g.get("const.bias", d) : Array();
    const Arrays y =
        device().apply("moe_route", {logits, bias}, {Array(d, g.shape("out.weights")), Array(I32, g.shape("out.idx"))}, forward);
    expect_close(y[0], g.get("out.weights", d), kReduction, "weights");
    EXPECT_EQ(y[1].values(), g.get("out.idx", I32).values());
    const Arrays grad = device().apply("moe_route_grad", {g.get("dout.weights", d), logits, y[1]}, {Array(d, logits.shape())}, backward);
    expect_close(grad[0], g.get("din.logits", d), kReduction, "dlogits");
  }
}

INSTANTIATE_TEST_SUITE_P(golden, Route,
                         ::testing::Values(RouteCase{"moe_softmax_topk_renorm", "softmax", 1, 1, 1, 1, 1},
                                           RouteCase{"moe_softmax_topk_norenorm", "softmax", 0, 1, 1, 1, 1},
                                           RouteCase{"moe_topk_softmax", "softmax", 1, 1, 1, 1, 1},
                                           RouteCase{"moe_softmax_group", "softmax", 0, 4, 2, 1, 1.5},
                                           RouteCase{"moe_sigmoid_bias_group", "sigmoid", 1, 4, 2, 2, 2.5}),
                         [](const auto& info) { return std::string(info.param.name); });

// The op sums over tokens, the files hold means: `weight` turns one into the other.
void expect_balance(const Golden& g, const std::string& loss, const Attrs& attrs, const Array& logits, const Array& chosen,
                    const Shape& each, double weight) {
  const Arrays load = device().apply("moe_load", {logits, chosen}, {Array(F64, each), Array(F64, each)}, attrs);
  const double sum = device().apply("moe_balance", load, {Array(F64, {})})[0].get(0);
  EXPECT_NEAR(sum * weight, g.get("out." + loss, F64).get(0), 1e-5);
  const Array dprob = device().apply("moe_balance_grad", {Array(F64, {}, {weight}), load[1]}, {Array(F64, each)})[0];
  const Array dlogits = device().apply("moe_load_grad", {dprob, logits}, {Array(F64, logits.shape())}, attrs)[0];
  const std::vector<double> all = g.get("din.logits", F64).values();  // tokens behind the last whole sequence are not judged
  const Array part(F64, logits.shape(), {all.begin(), all.begin() + logits.size()});
  expect_close(dlogits, part, kReduction, loss);
}

// The two best of each token.
Array two_best(const Array& logits, const char* score) {
  const Shape k{logits.shape()[0], 2};
  return device().apply("moe_route", {logits, Array()}, {Array(F64, k), Array(I32, k)}, {{"k", 2}, {"score", score}})[1];
}

TEST(RouterLoss, balance_equals_the_losses_of_transformers_and_megatron) {
  const double tokens = 21;
  const Golden hf("moe/moe_hf_aux_loss"), megatron("moe/moe_megatron_aux_loss");
  const Array logits = hf.get("in.logits", F64);
  expect_balance(hf, "hf_aux_loss", {}, logits, two_best(logits, "softmax"), {8}, 2 / tokens);
  const Array other = megatron.get("in.logits", F64);
  expect_balance(megatron, "megatron_aux_loss", {}, other, two_best(other, "softmax"), {8}, 0.01 / tokens);
}

TEST(RouterLoss, sequence_wise_balance_equals_the_golden_file) {
  const Golden g("moe/moe_seq_aux_loss");
  const Array all = g.get("in.logits", F64), chosen = two_best(all, "sigmoid");
  const Array logits(F64, {3, 7, 8}, all.values()), sequences(I32, {3, 7, 2}, chosen.values());
  expect_balance(g, "loss", {{"axes", 1}, {"score", "sigmoid"}}, logits, sequences, {3, 8}, 0.02 / 21);
}

TEST(RouterLoss, z_loss_equals_the_golden_file) {
  const Golden g("moe/moe_z_loss");
  const Array logits = g.get("in.logits", F64);
  const double weight = 0.001 / 21;
  EXPECT_NEAR(device().apply("moe_z_loss", {logits}, {Array(F64, {})})[0].get(0) * weight, g.get("out.z_loss", F64).get(0), 1e-6);
  const Arrays grad = device().apply("moe_z_loss_grad", {Array(F64, {}, {weight}), logits}, {Array(F64, logits.shape())});
  expect_close(grad[0], g.get("din.logits", F64), kReduction, "dlogits");
}

// Every step of a Mixtral block, forward and backward.
TEST(MixtureLayer, output_and_gradients_equal_the_golden_file) {
  const Golden g("moe/moe_layer");
  for (const nemo_dtype d : {F32, F64}) {
    auto in = [&](const std::string& name) { return g.get("in." + name, d); };
    auto make = [&](Shape s) { return Array(d, std::move(s)); };
    auto op = [&](const std::string& name, const Arrays& inputs, Arrays outputs, const Attrs& attrs = {}) {
      return device().apply(name, inputs, std::move(outputs), attrs);
    };
    const int64_t t = 21, k = 2, e = 8, h = 16, f = 24;
    const Array logits = op("linear", {in("x"), in("router")}, {make({t, e})})[0];
    const Arrays route = op("moe_route", {logits, Array()}, {make({t, k}), Array(I32, {t, k})}, {{"k", 2}});
    EXPECT_EQ(route[1].values(), g.get("out.idx", I32).values());
    const Arrays rows =
        op("moe_dispatch", {in("x"), route[1]}, {make({t, k, h}), Array(I32, {t, k}), Array(I32, {t, k})}, {{"experts", 8}});
    const Array gate = op("grouped_linear", {rows[0], rows[1], in("w1")}, {make({t, k, f})})[0];
    const Array up = op("grouped_linear", {rows[0], rows[1], in("w3")}, {make({t, k, f})})[0];
    const Array act = op("glu", {gate, up}, {make({t, k, f})})[0];
    const Array down = op("grouped_linear", {act, rows[1], in("w2")}, {make({t, k, h})})[0];
    const Array y = op("moe_combine", {down, rows[2], route[0]}, {make({t, h})})[0];
    expect_close(y, g.get("out.y", d), kReduction, "y");

    const Attrs sized{{"e", 8}};
    const Arrays combine = op("moe_combine_grad", {g.get("dout.y", d), down, rows[2], route[0]}, {make({t, k, h}), make({t, k})});
    const Array dact = op("grouped_linear_dgrad", {combine[0], rows[1], in("w2")}, {make({t, k, f})})[0];
    const Arrays glu = op("glu_grad", {dact, gate, up}, {make({t, k, f}), make({t, k, f})});
    const Array dgate = op("grouped_linear_dgrad", {glu[0], rows[1], in("w1")}, {make({t, k, h})})[0];
    const Array dup = op("grouped_linear_dgrad", {glu[1], rows[1], in("w3")}, {make({t, k, h})})[0];
    const Array drows = op("add", {dgate, dup}, {make({t, k, h})})[0];
    const Array dlogits = op("moe_route_grad", {combine[1], logits, route[1]}, {make({t, e})})[0];
    const Array from_router = op("linear_dgrad", {dlogits, in("router")}, {make({t, h})})[0];
    const Array dx = op("add", {op("moe_dispatch_grad", {drows, rows[2]}, {make({t, h})})[0], from_router}, {make({t, h})})[0];
    expect_close(dx, g.get("din.x", d), kReduction, "dx");
    expect_close(op("linear_wgrad", {dlogits, in("x")}, {make({e, h})})[0], g.get("din.router", d), kReduction, "drouter");
    expect_close(op("grouped_linear_wgrad", {glu[0], rows[1], rows[0]}, {make({e, f, h})}, sized)[0], g.get("din.w1", d), kReduction,
                 "dw1");
    expect_close(op("grouped_linear_wgrad", {combine[0], rows[1], act}, {make({e, h, f})}, sized)[0], g.get("din.w2", d), kReduction,
                 "dw2");
    expect_close(op("grouped_linear_wgrad", {glu[1], rows[1], rows[0]}, {make({e, f, h})}, sized)[0], g.get("din.w3", d), kReduction,
                 "dw3");
  }
}

TEST(RelativeBias, buckets_equal_the_golden_file) {
  const Golden g("attention/t5_buckets");
  const std::vector<double> distance = g.get("relative_position", I32).values();
  for (const int bidirectional : {0, 1})
    for (const auto& [buckets, farthest] : {std::pair<int64_t, int64_t>{16, 20}, {32, 128}}) {
      const std::vector<double> want =
          g.get("bucket_bidirectional" + std::to_string(bidirectional) + "_n" + std::to_string(buckets) + "_d" + std::to_string(farthest),
                I32)
              .values();
      Array table(F32, {buckets, 1});
      for (int64_t i = 0; i < buckets; ++i) table.set(i, static_cast<double>(i));
      const int64_t n = 400;
      const Array bias = device().apply("relative_bias", {table}, {Array(F32, {1, n, n})},
                                        {{"s", n}, {"t", n}, {"bidirectional", bidirectional}, {"max_distance", farthest}})[0];
      for (size_t i = 0; i < want.size(); ++i) {
        const auto away = static_cast<int64_t>(distance[i]), query = away < 0 ? n - 1 : 0;
        EXPECT_EQ(bias.get(query * n + query + away), want[i]) << "distance " << away;
      }
    }
}

}  // namespace
}  // namespace nemo::backend_cpu

#include "tests/backend_cpu/gradient.hpp"

namespace nemo::backend_cpu {
namespace {

struct Mask {
  const char* name;
  int64_t s, t;
  int causal, window;
  double softcap;
  bool segments;
};

Differentiable attention(const Mask& p) {
  const Shape q{2, p.s, 4, 3}, k{2, p.t, 2, 3}, v{2, p.t, 2, 5}, o{2, p.s, 4, 5}, lse{2, 4, p.s};
  const Attrs attrs{{"scale", 0.6}, {"causal", p.causal}, {"window", p.window}, {"softcap", p.softcap}};
  Array segments;
  if (p.segments) {
    segments = Array(I32, {2, p.t});
    for (int64_t i = 0; i < 2 * p.t; ++i) segments.set(i, static_cast<double>(i / 3 % 4));  // numbers come back: equal numbers attend
  }
  auto run = [=](const Arrays& x) {
    return device().apply("attention", {x[0], x[1], x[2], segments}, {Array(F64, o), Array(F64, lse)}, attrs);
  };
  return {p.name,
          {normal_array(F64, q, 1), normal_array(F64, k, 2), normal_array(F64, v, 3)},
          [=](const Arrays& x) { return Arrays{run(x)[0]}; },
          [=](const Arrays& x, const Arrays& d) {
            const Arrays y = run(x);
            return device().apply("attention_grad", {d[0], x[0], x[1], x[2], y[0], y[1], segments},
                                  {Array(F64, q), Array(F64, k), Array(F64, v)}, attrs);
          }};
}

class AttentionGradient : public ::testing::TestWithParam<Mask> {};
TEST_P(AttentionGradient, matches_central_difference) { expect_gradient(attention(GetParam())); }
INSTANTIATE_TEST_SUITE_P(masks, AttentionGradient,
                         ::testing::Values(Mask{"causal", 9, 9, 1, 0, 0, false}, Mask{"full", 9, 9, 0, 0, 0, false},
                                           Mask{"window", 12, 12, 1, 4, 0, false}, Mask{"full_window", 12, 12, 0, 4, 0, false},
                                           Mask{"softcap", 9, 9, 1, 0, 1.5, false}, Mask{"segments", 12, 12, 1, 0, 0, true},
                                           Mask{"all", 12, 12, 1, 5, 2.0, true}, Mask{"more_keys", 4, 11, 1, 0, 0, false},
                                           Mask{"more_queries", 11, 4, 1, 0, 0, false}, Mask{"across_tiles", 150, 150, 1, 0, 0, false},
                                           Mask{"window_across_tiles", 150, 170, 1, 20, 0, false}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Attention, a_query_that_sees_no_key_gives_zero_and_minus_infinity) {
  const Arrays y = device().apply(
      "attention", {normal_array(F32, {1, 3, 1, 4}, 1), normal_array(F32, {1, 1, 1, 4}, 2), normal_array(F32, {1, 1, 1, 4}, 3)},
      {Array(F32, {1, 3, 1, 4}), Array(F32, {1, 1, 3})}, {{"scale", 1.0}});
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(y[0].get(i), 0);
  EXPECT_EQ(y[1].get(0), -INFINITY);
  EXPECT_EQ(y[1].get(1), -INFINITY);
  EXPECT_TRUE(std::isfinite(y[1].get(2)));
}

}  // namespace
}  // namespace nemo::backend_cpu

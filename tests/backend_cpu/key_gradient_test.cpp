// What pass "fuse" knows of key biases (core/passes/key_bias.hpp): the gradients of all keys of a softmax add up to nothing.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/backend_cpu/device.hpp"

namespace nemo::backend_cpu {
namespace {

constexpr nemo_dtype F64 = NEMO_DTYPE_F64, I32 = NEMO_DTYPE_I32;

struct Scores {
  const char* name;
  Attrs attrs;
  bool segments = false, sinks = false, bias = false, lengths = false;
};

// The largest of the sums over the tokens of dk, beside the largest of the sums of magnitudes.
struct Sums {
  double sum, magnitude;
};
Sums key_sums(const Scores& p) {
  const int64_t s = 13, t = 13;
  const Shape q{2, s, 4, 3}, k{2, t, 2, 3}, v{2, t, 2, 5}, o{2, s, 4, 5}, lse{2, 4, s}, bias{4, s, t};
  Attrs attrs = p.attrs;
  attrs.push_back({"scale", 0.6});
  Array segments;
  if (p.segments) {
    segments = Array(I32, {2, t});
    for (int64_t i = 0; i < 2 * t; ++i) segments.set(i, static_cast<double>(i % t / 4));
  }
  const Arrays x{normal_array(F64, q, 1), normal_array(F64, k, 2), normal_array(F64, v, 3)};
  const Arrays more{segments, p.sinks ? normal_array(F64, {4}, 4) : Array(), p.bias ? normal_array(F64, bias, 5) : Array(),
                    p.lengths ? Array(I32, {2}, {5, 13}) : Array()};
  const Arrays y =
      device().apply("attention", {x[0], x[1], x[2], more[0], more[1], more[2], more[3]}, {Array(F64, o), Array(F64, lse)}, attrs);
  const Array dk = device().apply(
      "attention_grad", {normal_array(F64, o, 6), x[0], x[1], x[2], y[0], y[1], more[0], more[1], more[2], more[3]},
      {Array(F64, q), Array(F64, k), Array(F64, v), p.sinks ? Array(F64, {4}) : Array(), p.bias ? Array(F64, bias) : Array()}, attrs)[1];
  Sums all{0, 0};
  const int64_t columns = 2 * 3;
  for (int64_t c = 0; c < columns; ++c) {
    double sum = 0, magnitude = 0;
    for (int64_t i = c; i < dk.size(); i += columns) sum += dk.get(i), magnitude += std::abs(dk.get(i));
    all = {std::max(all.sum, std::abs(sum)), std::max(all.magnitude, magnitude)};
  }
  return all;
}

class KeyGradients : public ::testing::TestWithParam<Scores> {};

TEST_P(KeyGradients, add_up_to_nothing) {
  const Sums found = key_sums(GetParam());
  EXPECT_GT(found.magnitude, 1);
  EXPECT_LT(found.sum, 1e-14 * found.magnitude * 26);  // the rounding of 26 summands
}

INSTANTIATE_TEST_SUITE_P(scores, KeyGradients,
                         ::testing::Values(Scores{"causal", {}}, Scores{"full", {{"causal", 0}}}, Scores{"window", {{"window", 4}}},
                                           Scores{"documents", {}, true}, Scores{"alibi", {{"alibi", 4}}},
                                           Scores{"bias", {{"causal", 0}}, false, false, true},
                                           Scores{"key_lengths", {{"causal", 0}}, false, false, false, true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(KeyGradient, sums_are_not_zero_where_a_shift_of_the_scores_is_seen) {
  for (const Scores& p : {Scores{"sinks", {}, false, true}, Scores{"softcap", {{"softcap", 1.5}}}}) {
    const Sums found = key_sums(p);
    EXPECT_GT(found.sum, 1e-3 * found.magnitude) << p.name;
  }
}

TEST(BiasGrad, leaves_out_what_is_known_to_be_zero) {
  const Array dy = normal_array(F64, {5, 12}, 1);
  const Array all = device().apply("bias_grad", {dy}, {Array(F64, {12})})[0];
  const Array some = device().apply("bias_grad", {dy}, {Array(F64, {12})}, {{"zero_start", 3}, {"zero_length", 4}})[0];
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(some.get(i), i >= 3 && i < 7 ? 0 : all.get(i)) << i;
}

}  // namespace
}  // namespace nemo::backend_cpu

// Linear biases of attention: the same as a bias tensor that holds them.
#include <cmath>

#include <gtest/gtest.h>

#include "nemo/cpp/alibi.hpp"
#include "tests/backend_cpu/device.hpp"

namespace nemo::backend_cpu {
namespace {

constexpr nemo_dtype F64 = NEMO_DTYPE_F64;

// As the code of Baichuan 13B and of the paper's authors writes them: a power of 2, and what is interleaved from twice as many.
std::vector<double> published_slopes(int64_t heads) {
  const auto of_power = [](int64_t n) {
    const double start = std::pow(2, -std::pow(2, -(std::log2(double(n)) - 3)));
    std::vector<double> slopes;
    for (int64_t i = 0; i < n; ++i) slopes.push_back(start * std::pow(start, double(i)));
    return slopes;
  };
  const auto closest = static_cast<int64_t>(std::exp2(std::floor(std::log2(double(heads)))));
  std::vector<double> slopes = of_power(closest);
  const std::vector<double> twice = of_power(2 * closest);
  for (size_t i = 0; slopes.size() < static_cast<size_t>(heads); i += 2) slopes.push_back(twice[i]);
  return slopes;
}

TEST(Alibi, slopes_are_the_published_ones) {
  for (const int64_t heads : {1, 2, 8, 12, 32, 40, 71}) {
    const std::vector<double> want = published_slopes(heads);
    for (int64_t h = 0; h < heads; ++h)
      EXPECT_NEAR(sdk::alibi_slope(h, heads), want[static_cast<size_t>(h)], 1e-14) << h << " of " << heads;
  }
}

TEST(Alibi, is_a_bias_by_distance_and_so_are_its_gradients) {
  const int64_t heads = 6, first = 3, all = 12, s = 150, t = 170;
  const Array q = normal_array(F64, {2, s, heads, 8}, 1), k = normal_array(F64, {2, t, 2, 8}, 2), v = normal_array(F64, {2, t, 2, 8}, 3),
              dy = normal_array(F64, {2, s, heads, 8}, 4);
  Array bias(F64, {heads, s, t});
  const std::vector<double> slopes = published_slopes(all);
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < s; ++i)
      for (int64_t j = 0; j < t; ++j) bias.set((h * s + i) * t + j, slopes[static_cast<size_t>(first + h)] * double(j - i - (t - s)));
  const Attrs plain{{"scale", 0.4}}, linear{{"scale", 0.4}, {"alibi", all}, {"alibi_first", first}};
  const Arrays shapes{Array(F64, q.shape()), Array(F64, {2, heads, s})},
      grads{Array(F64, q.shape()), Array(F64, k.shape()), Array(F64, v.shape()), {}, {}};
  const Arrays want = device().apply("attention", {q, k, v, {}, {}, bias}, shapes, plain);
  const Arrays got = device().apply("attention", {q, k, v}, shapes, linear);
  const Arrays want_grads = device().apply("attention_grad", {dy, q, k, v, want[0], want[1], {}, {}, bias}, grads, plain);
  const Arrays got_grads = device().apply("attention_grad", {dy, q, k, v, got[0], got[1]}, grads, linear);
  const auto expect_same = [](const Array& a, const Array& b, const char* what) {
    for (int64_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a.get(i), b.get(i), 1e-11) << what << " " << i;
  };
  expect_same(got[0], want[0], "o");
  expect_same(got[1], want[1], "lse");
  for (size_t i = 0; i < 3; ++i) expect_same(got_grads[i], want_grads[i], "gradient");
}

}  // namespace
}  // namespace nemo::backend_cpu

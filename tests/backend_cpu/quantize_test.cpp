// 8-bit floats on the CPU: the formats bit by bit, scales, histories, and products against naive ones of the same numbers.
#include "tests/backend_cpu/golden.hpp"
#include "tests/backend_cpu/op_cases.hpp"

namespace nemo::backend_cpu {
namespace {

// Quantizes a column of values with scale 1 (amax 0).
Array encoded(const Array& x, nemo_dtype format) {
  Arrays out{Array(format, x.shape()), Array(), Array(F32, {})};
  device().run("quantize", {x, Array(F32, {}, {0})}, out, {{"dtype", format == E4M3 ? "e4m3" : "e5m2"}});
  return out[0];
}

void expect_bits(const Array& got, const std::vector<double>& bits, const std::string& what) {
  const std::vector<char> bytes = got.content();
  for (size_t i = 0; i < bits.size(); ++i) {
    unsigned value = static_cast<uint8_t>(bytes[got.dtype() == F16 ? 2 * i : i]);
    if (got.dtype() == F16) value |= static_cast<unsigned>(static_cast<uint8_t>(bytes[2 * i + 1])) << 8;
    const auto want = static_cast<unsigned>(static_cast<int>(bits[i])) & (got.dtype() == F16 ? 0xffffu : 0xffu);
    const unsigned payload = got.dtype() == F16 ? 0x7fffu : 0x7fu;
    const bool nan = got.dtype() == F16    ? (want & payload) > 0x7c00u
                     : got.dtype() == E4M3 ? (want & payload) == 0x7f
                                           : (want & payload) > 0x7c;
    if (nan) {
      EXPECT_TRUE(std::isnan(got.get(static_cast<int64_t>(i)))) << what << " " << i;
      continue;
    }
    ASSERT_EQ(value, want) << what << " at element " << i;
  }
}

TEST(Casts, match_the_golden_bits_of_torch) {
  const Golden g("casts/casts");
  const Array x = Array(F32, {g.shape("x")[0], 1}, g.get("x", F32).values());
  Arrays half{Array(F16, x.shape())};
  device().run("cast", {x}, half, {{"dtype", "f16"}});
  expect_bits(half[0], g.get("fp16_bits", F64).values(), "f16");
  expect_bits(encoded(x, E4M3), g.get("float8_e4m3fn_saturated_bits", F64).values(), "e4m3");
  expect_bits(encoded(x, E5M2), g.get("float8_e5m2_saturated_bits", F64).values(), "e5m2");
}

TEST(Casts, every_code_of_f16_widens_to_its_value) {
  std::vector<double> all;
  Array codes(F16, {1 << 16});
  for (int i = 0; i < 1 << 16; ++i) {
    codes.data()[2 * i] = static_cast<char>(i & 0xff);
    codes.data()[2 * i + 1] = static_cast<char>(i >> 8);
  }
  Arrays wide{Array(F32, {1 << 16})};
  device().run("cast", {codes}, wide, {{"dtype", "f32"}});
  for (int64_t i = 0; i < 1 << 16; ++i)
    ASSERT_TRUE(std::isnan(codes.get(i)) ? std::isnan(wide[0].get(i)) : wide[0].get(i) == codes.get(i)) << i;
}

TEST(Quantize, scale_maps_the_largest_magnitude_to_the_largest_number) {
  const Array x(F32, {2, 3}, {0.5, -3, 1, 0, 2, -0.25});
  const Arrays top = device().apply("amax", {x}, {Array(F32, {})});
  EXPECT_EQ(top[0].get(0), 3);
  for (const nemo_dtype format : {E4M3, E5M2}) {
    const double largest = format == E4M3 ? 448 : 57344;
    const Arrays out = device().apply("quantize", {x, top[0]}, {Array(format, {2, 3}), Array(format, {3, 2}), Array(F32, {})},
                                      {{"dtype", format == E4M3 ? "e4m3" : "e5m2"}});
    EXPECT_NEAR(out[2].get(0), 3 / largest, 1e-6 * 3 / largest);
    EXPECT_EQ(out[0].get(1), -largest);
    for (int64_t r = 0; r < 2; ++r)
      for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(out[1].get(c * 2 + r), out[0].get(r * 3 + c));
  }
}

TEST(Quantize, margin_leaves_room_and_degenerate_magnitudes_mean_scale_1) {
  const Array x(F32, {1, 2}, {1, -2});
  const auto factor = [&](double amax, int64_t margin) {
    return device()
        .apply("quantize", {x, Array(F32, {}, {amax})}, {Array(E4M3, {1, 2}), Array(), Array(F32, {})},
               {{"dtype", "e4m3"}, {"margin", margin}})[2]
        .get(0);
  };
  EXPECT_EQ(factor(448, 0), 1);
  EXPECT_EQ(factor(448, 3), 8);
  EXPECT_EQ(factor(0, 2), 1);
  EXPECT_EQ(factor(INFINITY, 2), 1);
}

TEST(Quantize, history_gathers_the_largest_finite_magnitude_and_moves_on) {
  const Array x(F32, {1, 4}, {1, -5, INFINITY, 2});
  Array history(F32, {2, 3}, {9, 9, 9, 0, 7, 1});
  Arrays out{Array(E4M3, {1, 4}), Array(), Array(F32, {}), history};
  const Attrs attrs{{"dtype", "e4m3"}, {"index", 1}};
  device().run("quantize", {x, Array(F32, {2}, {1, 448})}, out, attrs);
  EXPECT_EQ(out[3].values(), (std::vector<double>{9, 9, 9, 5, 7, 1}));
  EXPECT_EQ(out[2].get(0), 1);
  Arrays moved{Array(F32, {2}), Array(F32, {2, 3})};
  device().run("recent_amax", {out[3]}, moved);
  EXPECT_EQ(moved[0].values(), (std::vector<double>{9, 7}));
  EXPECT_EQ(moved[1].values(), (std::vector<double>{0, 9, 9, 0, 5, 7}));
  device().run("recent_amax", {moved[1]}, moved, {{"algorithm", "most_recent"}});
  EXPECT_EQ(moved[0].values(), (std::vector<double>{0, 0}));
}

// y[m n] = fa fb sum_k a[m k] b[n k]
std::vector<double> naive(const Array& a, const Array& b, double factor, int64_t m, int64_t n, int64_t k) {
  const std::vector<double> x = a.values(), w = b.values();
  std::vector<double> y(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t e = 0; e < k; ++e) sum += x[static_cast<size_t>(i * k + e)] * w[static_cast<size_t>(j * k + e)];
      y[static_cast<size_t>(i * n + j)] = sum * factor;
    }
  return y;
}

TEST(LinearFp8, all_three_products_are_those_of_the_decoded_operands) {
  const int64_t a = 20, n = 24, k = 36;
  const Array x = normal_array(E4M3, {a, k}, 1), w = normal_array(E4M3, {n, k}, 2), dy = normal_array(E5M2, {a, n}, 3),
              wt = normal_array(E4M3, {k, n}, 4), dyt = normal_array(E5M2, {n, a}, 5), xt = normal_array(E4M3, {k, a}, 6);
  const Array s(F32, {}, {0.25}), t(F32, {}, {3});
  const Attrs f32{{"dtype", "f32"}};
  const auto check = [](const Array& got, std::vector<double> want) {
    expect_close(got, Array(F64, got.shape(), want), kReduction, "product");
  };
  check(device().apply("linear_fp8", {x, w, s, t}, {Array(F32, {a, n})}, f32)[0], naive(x, w, 0.75, a, n, k));
  check(device().apply("linear_dgrad_fp8", {dy, wt, s, t}, {Array(F32, {a, k})}, f32)[0], naive(dy, wt, 0.75, a, k, n));
  check(device().apply("linear_wgrad_fp8", {dyt, xt, s, t}, {Array(F32, {n, k})})[0], naive(dyt, xt, 0.75, n, k, a));
}

class NarrowOps : public ::testing::TestWithParam<OpCase> {};
INSTANTIATE_TEST_SUITE_P(table, NarrowOps, ::testing::ValuesIn(narrow_cases(BF16)),
                         [](const ::testing::TestParamInfo<OpCase>& info) { return info.param.name; });

TEST_P(NarrowOps, threads_and_instruction_sets_change_rounding_only) {
  static const Device one(1, "v2"), five(5);
  const OpCase& c = GetParam();
  Arrays a = make_outputs(c, BF16), b = a;
  one.run(c.op, make_inputs(c, BF16), a, c.attrs);
  five.run(c.op, make_inputs(c, BF16), b, c.attrs);
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].present()) expect_close(a[i], b[i], a[i].dtype() == BF16 ? kBf16 : kReduction, "output " + std::to_string(i));
}

TEST_P(NarrowOps, strided_rows_give_what_contiguous_ones_give) {
  const OpCase& c = GetParam();
  if (!c.strided) GTEST_SKIP() << "contiguous tensors only";
  Arrays want = make_outputs(c, BF16), inputs = make_inputs(c, BF16), outputs = make_outputs(c, BF16);
  device().run(c.op, inputs, want, c.attrs);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (c.inputs[i].role == Role::compute) inputs[i] = inputs[i].strided();
  for (size_t i = 0; i < outputs.size(); ++i)
    if (c.outputs[i].role == Role::compute) outputs[i] = outputs[i].strided();
  device().run(c.op, inputs, outputs, c.attrs);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(outputs[i].content(), want[i].content()) << i;
}

TEST(Quantize, f64_is_refused) {
  Arrays out{Array(E4M3, {2, 2}), Array(), Array(F64, {})};
  EXPECT_THROW(device().run("quantize", {Array(F64, {2, 2}), Array(F64, {})}, out, {{"dtype", "e4m3"}}), std::runtime_error);
}

}  // namespace
}  // namespace nemo::backend_cpu

#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

Array like(const Array& a) { return Array(a.dtype(), a.shape()); }
Shape rows_of(const Array& x) { return Shape(x.shape().begin(), x.shape().end() - 1); }

class Rms : public ::testing::TestWithParam<std::tuple<const char*, double, int>> {};
TEST_P(Rms, norm_and_gradient_equal_the_golden_file) {
  const auto [name, eps, centered] = GetParam();
  for (nemo_dtype d : {F32, F64}) {
    const Golden g(std::string("norms/") + name);
    const Array x = g.get("in.x", d), w = g.get("in.w", d), dy = g.get("dout.y", d);
    const Attrs attrs{{"eps", eps}, {"zero_centered", centered}};
    const Arrays y = device().apply("rms_norm", {x, w}, {like(x), Array(d, rows_of(x))}, attrs);
    expect_close(y[0], g.get("out.y", d), kReduction, "y");
    const Arrays grad = device().apply("rms_norm_grad", {dy, x, w, y[1]}, {like(x), like(w)}, {{"zero_centered", centered}});
    expect_close(grad[0], g.get("din.x", d), kReduction, "dx");
    expect_close(grad[1], g.get("din.w", d), kReduction, "dw");
  }
}
INSTANTIATE_TEST_SUITE_P(golden, Rms,
                         ::testing::Values(std::tuple{"rmsnorm_h64_eps1e-05", 1e-5, 0}, std::tuple{"rmsnorm_h64_eps1e-06", 1e-6, 0},
                                           std::tuple{"rmsnorm1p_h64_eps1e-06", 1e-6, 1}, std::tuple{"rmsnorm_h1000_eps1e-05", 1e-5, 0},
                                           std::tuple{"rmsnorm_h1000_eps1e-06", 1e-6, 0}, std::tuple{"rmsnorm1p_h1000_eps1e-06", 1e-6, 1},
                                           std::tuple{"rmsnorm_extremes", 1e-6, 0}));

class Layer : public ::testing::TestWithParam<std::tuple<const char*, int>> {};
TEST_P(Layer, norm_and_gradient_equal_the_golden_file) {
  const auto [name, centered] = GetParam();
  for (nemo_dtype d : {F32, F64}) {
    const Golden g(std::string("norms/") + name);
    const Array x = g.get("in.x", d), w = g.get("in.w", d), dy = g.get("dout.y", d), b = g.has("in.b") ? g.get("in.b", d) : Array();
    const Array stat(d, rows_of(x));
    const Arrays y = device().apply("layer_norm", {x, w, b}, {like(x), stat, stat}, {{"eps", 1e-5}, {"zero_centered", centered}});
    expect_close(y[0], g.get("out.y", d), kReduction, "y");
    const Arrays grad = device().apply("layer_norm_grad", {dy, x, w, y[1], y[2]}, {like(x), like(w), b.present() ? like(w) : Array()},
                                       {{"zero_centered", centered}});
    expect_close(grad[0], g.get("din.x", d), kReduction, "dx");
    expect_close(grad[1], g.get("din.w", d), kReduction, "dw");
    if (b.present()) expect_close(grad[2], g.get("din.b", d), kReduction, "db");
  }
}
INSTANTIATE_TEST_SUITE_P(golden, Layer,
                         ::testing::Values(std::tuple{"layernorm_h64_eps1e-05", 0}, std::tuple{"layernorm_nobias_h64_eps1e-05", 0},
                                           std::tuple{"layernorm1p_h64_eps1e-05", 1}, std::tuple{"layernorm1p_h1000_eps1e-05", 1},
                                           std::tuple{"layernorm_h1000_eps1e-05", 0}, std::tuple{"layernorm_nobias_h1000_eps1e-05", 0}));

TEST(Golden, add_rms_norm_and_its_gradient_equal_the_golden_file) {
  const Golden g("norms/add_rmsnorm");
  const Array x = g.get("in.x", F32), res = g.get("in.residual", F32), w = g.get("in.w", F32);
  const Arrays y = device().apply("add_rms_norm", {x, res, w}, {like(x), like(x), Array(F32, rows_of(x))}, {{"eps", 1e-5}});
  expect_close(y[0], g.get("out.y", F32), kReduction, "y");
  expect_close(y[1], g.get("out.sum", F32), kElementwise, "sum");
  const Arrays grad =
      device().apply("rms_norm_grad_add", {g.get("dout.y", F32), y[1], w, y[2], g.get("dout.sum", F32)}, {like(x), like(w)});
  expect_close(grad[0], g.get("din.x", F32), kReduction, "dx");
  expect_close(grad[0], g.get("din.residual", F32), kReduction, "dresidual");
  expect_close(grad[1], g.get("din.w", F32), kReduction, "dw");
}

class Rope : public ::testing::TestWithParam<std::tuple<const char*, int, int>> {};
TEST_P(Rope, turn_and_its_inverse_equal_the_golden_file) {
  const auto [name, rotary, interleaved] = GetParam();
  std::vector<double> inv_freq;
  for (int i = 0; i < rotary; i += 2) inv_freq.push_back(std::pow(10000.0, -static_cast<double>(i) / rotary));
  for (nemo_dtype d : {F32, F64}) {
    const Golden g(std::string("rope/") + name);
    const Array x = g.get("in.x", d), pos = g.get("const.pos", I32);
    Arrays y = device().apply("rope", {x, pos}, {like(x)}, {{"inv_freq", inv_freq}, {"interleaved", interleaved}});
    expect_close(y[0], g.get("out.y", d), kElementwise, "y");
    y = device().apply("rope", {g.get("dout.y", d), pos}, {like(x)},
                       {{"inv_freq", inv_freq}, {"interleaved", interleaved}, {"inverse", 1}});
    expect_close(y[0], g.get("din.x", d), kElementwise, "dx");
  }
}
INSTANTIATE_TEST_SUITE_P(golden, Rope,
                         ::testing::Values(std::tuple{"rope_half_d32_r16", 16, 0}, std::tuple{"rope_half_d32_r32", 32, 0},
                                           std::tuple{"rope_half_d64_r64", 64, 0}, std::tuple{"rope_interleaved_d32_r16", 16, 1},
                                           std::tuple{"rope_interleaved_d32_r32", 32, 1}, std::tuple{"rope_interleaved_d64_r64", 64, 1}));

class Activation : public ::testing::TestWithParam<const char*> {};
TEST_P(Activation, value_and_slope_equal_the_golden_file) {
  const Golden g(std::string("activations/act_") + GetParam());
  for (nemo_dtype d : {F32, F64}) {
    const Array x = g.get("in.x", d);
    expect_close(device().apply("activation", {x}, {like(x)}, {{"kind", GetParam()}})[0], g.get("out.y", d), kElementwise, "y");
    const Arrays grad = device().apply("activation_grad", {g.get("dout.y", d), x}, {like(x)}, {{"kind", GetParam()}});
    expect_close(grad[0], g.get("din.x", d), kElementwise, "dx");
  }
}
INSTANTIATE_TEST_SUITE_P(golden, Activation,
                         ::testing::Values("gelu_erf", "gelu_tanh", "silu", "relu", "relu2", "quick_gelu", "tanh", "sigmoid", "softplus"));

class Glu : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};
TEST_P(Glu, value_and_gradient_equal_the_golden_file) {
  const auto [name, kind] = GetParam();
  const Golden g(std::string("activations/") + name);
  const Array x = g.get("in.x", F32), dy = g.get("dout.y", F32);
  const Shape half = dy.shape();
  auto part = [&](const Array& from, int64_t start) {
    return device().apply("slice", {from}, {Array(F32, half)}, {{"dim", 1}, {"start", start}, {"length", half[1]}})[0];
  };
  const Array gate = part(x, 0), up = part(x, half[1]);
  expect_close(device().apply("glu", {gate, up}, {like(dy)}, {{"kind", kind}})[0], g.get("out.y", F32), kElementwise, "y");
  const Arrays grad = device().apply("glu_grad", {dy, gate, up}, {like(dy), like(dy)}, {{"kind", kind}});
  const Array joined = device().apply("concat", {grad[0], grad[1]}, {like(x)}, {{"dim", 1}})[0];
  expect_close(joined, g.get("din.x", F32), kElementwise, "dx");
}
INSTANTIATE_TEST_SUITE_P(golden, Glu,
                         ::testing::Values(std::pair{"glu_swiglu", "silu"}, std::pair{"glu_geglu_tanh", "gelu_tanh"},
                                           std::pair{"glu_geglu_erf", "gelu_erf"}, std::pair{"glu_reglu", "relu"}));

TEST(Golden, linear_with_bias_and_its_gradients_equal_the_golden_file) {
  const Golden g("activations/linear_bias");
  for (nemo_dtype d : {F32, F64}) {
    const Array x = g.get("in.x", d), w = g.get("in.w", d), b = g.get("in.b", d), dy = g.get("dout.y", d);
    expect_close(device().apply("linear", {x, w, b}, {like(dy)})[0], g.get("out.y", d), kReduction, "y");
    expect_close(device().apply("linear_dgrad", {dy, w}, {like(x)})[0], g.get("din.x", d), kReduction, "dx");
    expect_close(device().apply("linear_wgrad", {dy, x}, {like(w)})[0], g.get("din.w", d), kReduction, "dw");
    expect_close(device().apply("bias_grad", {dy}, {like(b)})[0], g.get("din.b", d), kReduction, "db");
  }
}

TEST(Golden, softmax_and_its_gradient_equal_the_golden_file) {
  const Golden g("activations/softmax");
  for (nemo_dtype d : {F32, F64}) {
    const Array x = g.get("in.x", d), y = device().apply("softmax", {x}, {like(x)})[0];
    expect_close(y, g.get("out.y", d), kReduction, "y");
    const Array dlog = g.get("dout.logsoftmax", d);
    Array dx = device().apply("softmax_grad", {g.get("dout.y", d), y}, {like(x)})[0];
    // The file's gradient is of y and of log y; the latter's part is dlog - y sum(dlog).
    for (int64_t row = 0, n = x.shape()[1]; row < x.shape()[0]; ++row) {
      double sum = 0;
      for (int64_t i = row * n; i < (row + 1) * n; ++i) sum += dlog.get(i);
      for (int64_t i = row * n; i < (row + 1) * n; ++i) dx.set(i, dx.get(i) + dlog.get(i) - y.get(i) * sum);
    }
    expect_close(dx, g.get("din.x", d), kReduction, "dx");
  }
}

TEST(Golden, embedding_and_its_gradient_equal_the_golden_file) {
  const Golden g("activations/embedding");
  for (nemo_dtype d : {F32, F64}) {
    const Array w = g.get("in.w", d), ids = g.get("const.ids", I32), dy = g.get("dout.y", d);
    expect_close(device().apply("embedding", {ids, w}, {like(dy)})[0], g.get("out.y", d), {0, 0}, "y");
    expect_close(device().apply("embedding_grad", {dy, ids}, {like(w)}, {{"rows", w.shape()[0]}})[0], g.get("din.w", d), kReduction, "dw");
  }
}

struct LossCase {
  const char* name;
  double smoothing, z_loss;
  bool mean;
};
// Megatron spreads `label_smoothing` over the other classes: s = label_smoothing V / (V - 1) of ours.
constexpr double kMegatronSmoothing = 0.1 * 53 / 52;
class CrossEntropy : public ::testing::TestWithParam<LossCase> {};
TEST_P(CrossEntropy, loss_and_gradient_equal_the_golden_file) {
  const LossCase& p = GetParam();
  const Golden g(std::string("cross_entropy/") + p.name);
  for (nemo_dtype d : {F32, F64}) {
    const Array logits = g.get("in.logits", d), labels = g.get("const.labels", I32), golden = g.get("out.loss", d);
    const Attrs attrs{{"label_smoothing", p.smoothing}, {"z_loss", p.z_loss}};
    const Array per_row(d, labels.shape());
    const Arrays y = device().apply("cross_entropy", {logits, labels}, {per_row, per_row}, attrs);
    double counted = 0, total = 0;
    for (double label : labels.values()) counted += label != -100;
    for (double loss : y[0].values()) total += loss;
    const double divisor = p.mean ? counted : 1;
    const bool each = golden.size() > 1;
    if (each)
      expect_close(y[0], golden, kReduction, "loss");
    else
      expect_close(Array(d, {}, {total / divisor}), golden, kReduction, "loss");
    Array dloss =
        each ? g.get("dout.loss", d) : Array(d, labels.shape(), std::vector<double>(static_cast<size_t>(labels.size()), 1 / divisor));
    const Arrays grad = device().apply("cross_entropy_grad", {dloss, logits, labels, y[1]}, {like(logits)}, attrs);
    expect_close(grad[0], g.get("din.logits", d), kReduction, "dlogits");
  }
}
INSTANTIATE_TEST_SUITE_P(
    golden, CrossEntropy,
    ::testing::Values(LossCase{"cross_entropy_ls0_mean", 0, 0, true}, LossCase{"cross_entropy_ls0_sum", 0, 0, false},
                      LossCase{"cross_entropy_ls0_none", 0, 0, false}, LossCase{"cross_entropy_ls0.1_mean", 0.1, 0, true},
                      LossCase{"cross_entropy_ls0.1_sum", 0.1, 0, false}, LossCase{"cross_entropy_ls0.1_none", 0.1, 0, false},
                      LossCase{"cross_entropy_large_ls0_mean", 0, 0, true}, LossCase{"cross_entropy_large_ls0_sum", 0, 0, false},
                      LossCase{"cross_entropy_large_ls0_none", 0, 0, false}, LossCase{"cross_entropy_large_ls0.1_mean", 0.1, 0, true},
                      LossCase{"cross_entropy_large_ls0.1_sum", 0.1, 0, false}, LossCase{"cross_entropy_large_ls0.1_none", 0.1, 0, false},
                      LossCase{"cross_entropy_megatron_ls0.1", kMegatronSmoothing, 0, false},
                      LossCase{"cross_entropy_large_megatron_ls0.1", kMegatronSmoothing, 0, false}));

TEST(Golden, casts_to_bf16_equal_the_golden_bits) {
  const Golden g("casts/casts");
  const Array x = g.get("x", F32), bits = g.get("bf16_bits", I32);
  const Array y = device().apply("cast", {x}, {Array(BF16, x.shape())}, {{"dtype", "bf16"}})[0];
  const std::vector<char> content = y.content();
  for (int64_t i = 0; i < y.size(); ++i) {
    uint16_t got = 0;
    std::memcpy(&got, content.data() + 2 * i, 2);
    const auto want = static_cast<uint16_t>(static_cast<int32_t>(bits.get(i)));
    if (std::isnan(x.get(i)))
      EXPECT_EQ(got & 0x7fc0, 0x7fc0) << i;
    else
      EXPECT_EQ(got, want) << "x = " << x.get(i);
  }
}

}  // namespace
}  // namespace nemo::backend_cpu

#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

Arrays op(const std::string& name, const Arrays& in, Arrays out, const Attrs& attrs = {}) {
  return device().apply(name, in, std::move(out), attrs);
}

TEST(CausalConv1d, output_and_gradients_equal_the_golden_file) {
  const Golden g("mamba/causal_conv1d_silu");
  for (const nemo_dtype d : {F32, F64}) {
    const Array x = g.get("in.x", d), w = g.get("in.w", d), b = g.get("in.b", d);
    expect_close(op("causal_conv1d", {x, w, b}, {Array(d, x.shape())})[0], g.get("out.y", d), kReduction, "y");
    const Arrays grad =
        op("causal_conv1d_grad", {g.get("dout.y", d), x, w, b}, {Array(d, x.shape()), Array(d, w.shape()), Array(d, b.shape())});
    expect_close(grad[0], g.get("din.x", d), kReduction, "dx");
    expect_close(grad[1], g.get("din.w", d), kReduction, "dw");
    expect_close(grad[2], g.get("din.b", d), kReduction, "db");
  }
}

class Scan : public ::testing::TestWithParam<const char*> {};

TEST_P(Scan, output_state_and_gradients_equal_the_golden_file) {
  const Golden g(std::string("mamba/") + GetParam());
  for (const nemo_dtype d : {F32, F64}) {
    Arrays in, shapes;
    for (const char* name : {"x", "dt", "A_log", "Bm", "C", "D", "dt_bias", "h0"}) {
      in.push_back(g.has(std::string("in.") + name) ? g.get(std::string("in.") + name, d) : Array());
      shapes.push_back(in.back().present() ? Array(d, in.back().shape()) : Array());
    }
    const Arrays y = op("ssd_scan", in, {Array(d, g.shape("out.y")), Array(d, g.shape("out.final_state"))});
    expect_close(y[0], g.get("out.y", d), kReduction, "y");
    expect_close(y[1], g.get("out.final_state", d), kReduction, "final state");
    Arrays back{g.get("dout.y", d)};
    back.insert(back.end(), in.begin(), in.end());
    back.push_back(g.get("dout.final_state", d));
    const Arrays grad = op("ssd_scan_grad", back, shapes);
    size_t i = 0;
    for (const char* name : {"x", "dt", "A_log", "Bm", "C", "D", "dt_bias", "h0"}) {
      if (grad[i].present()) expect_close(grad[i], g.get(std::string("din.") + name, d), kReduction, name);
      ++i;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(golden, Scan, ::testing::Values("mamba2_ssd", "mamba2_ssd_initial_state"),
                         [](const auto& info) { return std::string(info.param); });

// The rows [first, first + n) of a matrix, with another shape.
Array rows(const Array& a, int64_t first, int64_t n, Shape shape) {
  const std::vector<double> all = a.values();
  const int64_t cols = a.size() / a.shape()[0];
  return Array(a.dtype(), std::move(shape), {all.begin() + first * cols, all.begin() + (first + n) * cols});
}

TEST(Mamba2Mixer, output_equals_the_golden_file) {
  const Golden g("mamba/mamba2_mixer");
  const int64_t b = 2, s = 21, e = 32, h = 4, p = 16, groups = 2, n = 8, inner = h * p, shared = groups * n;
  for (const nemo_dtype d : {F32, F64}) {
    auto in = [&](const char* name) { return g.get(std::string("in.") + name, d); };
    auto project = [&](int64_t first, Shape on) {
      Shape w = on, y{b, s};
      w.push_back(e);
      y.insert(y.end(), on.begin(), on.end());
      int64_t count = 1;
      for (const int64_t size : on) count *= size;
      return op("linear", {in("x"), rows(in("in_proj"), first, count, w)}, {Array(d, y)})[0];
    };
    auto convolve = [&](const Array& x, int64_t first, int64_t count) {
      Shape w(x.shape().begin() + 2, x.shape().end()), bias = w;
      w.push_back(4);
      return op("causal_conv1d", {x, rows(in("conv_w"), first, count, w), rows(in("conv_b"), first, count, bias)},
                {Array(d, x.shape())})[0];
    };
    const Array z = project(0, {h, p});
    const Array x = convolve(project(inner, {h, p}), 0, inner);
    const Array bm = convolve(project(2 * inner, {groups, n}), inner, shared);
    const Array c = convolve(project(2 * inner + shared, {groups, n}), inner + shared, shared);
    const Array dt = project(2 * inner + 2 * shared, {h});
    const Array y =
        op("ssd_scan", {x, dt, in("A_log"), bm, c, in("D"), in("dt_bias")}, {Array(d, {b, s, h, p}), Array(d, {b, h, p, n})})[0];
    const Array norm = op("gated_rms_norm", {y, z, rows(in("norm_w"), 0, inner, {h, p})}, {Array(d, {b, s, h, p}), Array(d, {b, s, 1})},
                          {{"axes", 2}, {"g", 1}, {"eps", 1e-5}})[0];
    const Array w = rows(in("out_proj"), 0, e, {e, h, p});
    expect_close(op("linear", {norm, w}, {Array(d, {b, s, e})}, {{"contract", 2}})[0], g.get("out.y", d), kReduction, "y");
  }
}

struct ExtraCase {
  const char* name;
  double scale;
  int causal, window;
};
class AttentionInputs : public ::testing::TestWithParam<ExtraCase> {};

TEST_P(AttentionInputs, output_lse_and_gradients_equal_the_golden_file) {
  const ExtraCase& p = GetParam();
  const Golden g(std::string("attention/") + p.name);
  const Attrs attrs{{"scale", p.scale}, {"causal", p.causal}, {"window", p.window}};
  for (const nemo_dtype d : {F32, F64}) {
    const Array q = g.get("in.q", d), k = g.get("in.k", d), v = g.get("in.v", d);
    const Array sinks = g.has("in.sinks") ? g.get("in.sinks", d) : Array(),
                lengths = g.has("const.key_lens") ? g.get("const.key_lens", I32) : Array();
    Array bias;
    if (g.has("in.bias")) bias = Array(d, {q.shape()[2], q.shape()[1], k.shape()[1]}, g.get("in.bias", d).values());
    const Arrays y =
        op("attention", {q, k, v, Array(), sinks, bias, lengths}, {Array(d, g.shape("out.o")), Array(d, g.shape("out.lse"))}, attrs);
    expect_close(y[0], g.get("out.o", d), kReduction, "o");
    expect_close(y[1], g.get("out.lse", d), kReduction, "lse");
    const Arrays grad = op("attention_grad", {g.get("dout.o", d), q, k, v, y[0], y[1], Array(), sinks, bias, lengths},
                           {Array(d, q.shape()), Array(d, k.shape()), Array(d, v.shape()),
                            sinks.present() ? Array(d, sinks.shape()) : Array(), bias.present() ? Array(d, bias.shape()) : Array()},
                           attrs);
    expect_close(grad[0], g.get("din.q", d), kReduction, "dq");
    expect_close(grad[1], g.get("din.k", d), kReduction, "dk");
    expect_close(grad[2], g.get("din.v", d), kReduction, "dv");
    if (sinks.present()) expect_close(grad[3], g.get("din.sinks", d), kReduction, "dsinks");
    if (bias.present()) expect_close(grad[4], Array(d, bias.shape(), g.get("din.bias", d).values()), kReduction, "dbias");
  }
}
INSTANTIATE_TEST_SUITE_P(golden, AttentionInputs,
                         ::testing::Values(ExtraCase{"attn_sinks", 0.25, 1, 0}, ExtraCase{"attn_sinks_sliding", 0.25, 1, 7},
                                           ExtraCase{"attn_bias", 0.25, 0, 0}, ExtraCase{"attn_cross_keylens", 0.1767766952966369, 0, 0}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace nemo::backend_cpu

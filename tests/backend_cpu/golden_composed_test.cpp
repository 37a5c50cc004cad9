// Golden files of what several ops, or one op called in parts, give together.
#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

Array like(const Array& a) { return Array(a.dtype(), a.shape()); }
Array mapped(const Array& a, const Array& b, double (*f)(double, double)) {
  Array out = like(a);
  for (int64_t i = 0; i < a.size(); ++i) out.set(i, f(a.get(i), b.get(i)));
  return out;
}

// The z term alone: the loss with it less the loss without.
TEST(GoldenZLoss, term_and_gradient_equal_the_golden_files) {
  for (const char* name : {"cross_entropy/z_loss", "cross_entropy/z_loss_large"})
    for (nemo_dtype d : {F32, F64}) {
      const Golden g(name);
      const Array logits = g.get("in.logits", d);
      const int64_t rows = logits.shape()[0];
      const Array labels(I32, {rows}), per_row(d, {rows}), mean(d, {rows}, std::vector<double>(static_cast<size_t>(rows), 1.0 / rows));
      Arrays loss[2], grad[2];
      for (int with : {0, 1}) {
        const Attrs attrs{{"z_loss", with * 0.001}};
        loss[with] = device().apply("cross_entropy", {logits, labels}, {per_row, per_row}, attrs);
        grad[with] = device().apply("cross_entropy_grad", {mean, logits, labels, loss[with][1]}, {like(logits)}, attrs);
      }
      double total = 0;
      for (int64_t i = 0; i < rows; ++i) total += (loss[1][0].get(i) - loss[0][0].get(i)) / static_cast<double>(rows);
      expect_close(Array(d, {}, {total}), g.get("out.loss", d), kReduction, name);
      const Array difference = mapped(grad[1][0], grad[0][0], [](double a, double b) { return a - b; });
      expect_close(difference, g.get("din.logits", d), kReduction, name);
    }
}

TEST(GoldenLossMask, mean_over_the_mask_and_gradient_equal_the_golden_files) {
  for (const char* name : {"cross_entropy/cross_entropy_loss_mask", "cross_entropy/cross_entropy_large_loss_mask"})
    for (nemo_dtype d : {F32, F64}) {
      const Golden g(name);
      const Array logits = g.get("in.logits", d), labels = g.get("const.labels", I32);
      Array dloss = g.get("const.loss_mask", d);
      double counted = 0, total = 0;
      for (double m : dloss.values()) counted += m;
      const Arrays y = device().apply("cross_entropy", {logits, labels}, {like(dloss), like(dloss)});
      for (int64_t i = 0; i < dloss.size(); ++i) {
        total += y[0].get(i) * dloss.get(i);
        dloss.set(i, dloss.get(i) / counted);
      }
      expect_close(Array(d, {}, {total / counted}), g.get("out.loss", d), kReduction, name);
      const Arrays grad = device().apply("cross_entropy_grad", {dloss, logits, labels, y[1]}, {like(logits)});
      expect_close(grad[0], g.get("din.logits", d), kReduction, name);
    }
}

// norm(x silu(z)) w, normalised by groups of channels (Mamba-2): glu, rms_norm without weight, mul.
TEST(GoldenGatedNorm, groups_and_gradients_equal_the_golden_file) {
  constexpr int64_t kGroups = 4;
  for (nemo_dtype d : {F32, F64}) {
    const Golden g("norms/gated_rmsnorm_grouped");
    const Array x = g.get("in.x", d), z = g.get("in.z", d), w = g.get("in.w", d), dy = g.get("dout.y", d);
    const int64_t width = w.size(), rows = x.size() / width;
    const Shape flat{rows, width}, grouped{rows * kGroups, width / kGroups};
    Array weight(d, flat);
    for (int64_t i = 0; i < weight.size(); ++i) weight.set(i, w.get(i % width));
    const auto shaped = [&](const Array& a, const Shape& s) { return Array(d, s, a.values()); };
    const Array product = device().apply("glu", {z, x}, {like(x)})[0];
    const Array u = shaped(product, grouped);
    const Arrays norm = device().apply("rms_norm", {u, {}}, {like(u), Array(d, {grouped[0]})}, {{"eps", 1e-5}});
    const Array n = shaped(norm[0], flat);
    expect_close(shaped(device().apply("mul", {n, weight}, {like(n)})[0], x.shape()), g.get("out.y", d), kReduction, "y");
    const Array dn = device().apply("mul", {shaped(dy, flat), weight}, {like(n)})[0];
    const Array du = device().apply("rms_norm_grad", {shaped(dn, grouped), u, {}, norm[1]}, {like(u), Array()})[0];
    const Arrays grad = device().apply("glu_grad", {shaped(du, x.shape()), z, x}, {like(z), like(x)});
    expect_close(grad[0], g.get("din.z", d), kReduction, "dz");
    expect_close(grad[1], g.get("din.x", d), kReduction, "dx");
    const Array each = device().apply("mul", {shaped(dy, flat), n}, {like(n)})[0];
    Array dw = like(w);
    for (int64_t i = 0; i < each.size(); ++i) dw.set(i % width, dw.get(i % width) + each.get(i));
    expect_close(dw, g.get("din.w", d), kReduction, "dw");
  }
}

// Cross attention over key lengths: each sequence with the keys that it has.
TEST(GoldenCrossAttention, each_sequence_with_its_own_keys_equals_the_golden_file) {
  const Attrs attrs{{"scale", 0.1767766952966369}, {"causal", 0}};
  for (nemo_dtype d : {F32, F64}) {
    const Golden g("attention/attn_cross_keylens");
    const std::vector<double> lengths = g.get("const.key_lens", I64).values();
    // Sequence b, its first n positions.
    const auto part = [&](const std::string& name, size_t b, int64_t n) {
      const Array all = g.get(name, d);
      const int64_t each = all.size() / all.shape()[0], row = each / all.shape()[1];
      const std::vector<double> v = all.values();
      const auto from = v.begin() + static_cast<int64_t>(b) * each;
      Shape shape = all.shape();
      shape[0] = 1, shape[1] = n;
      return Array(d, shape, {from, from + n * row});
    };
    for (size_t b = 0; b < lengths.size(); ++b) {
      const auto keys = static_cast<int64_t>(lengths[b]);
      const int64_t queries = g.shape("in.q")[1], heads = g.shape("in.q")[2];
      const Array q = part("in.q", b, queries), k = part("in.k", b, keys), v = part("in.v", b, keys), dout = part("dout.o", b, queries);
      const Arrays y = device().apply("attention", {q, k, v, {}}, {like(dout), Array(d, {1, heads, queries})}, attrs);
      expect_close(y[0], part("out.o", b, queries), kReduction, "o");
      expect_close(y[1], part("out.lse", b, heads), kReduction, "lse");
      const Arrays grad = device().apply("attention_grad", {dout, q, k, v, y[0], y[1], {}}, {like(q), like(k), like(v)}, attrs);
      expect_close(grad[0], part("din.q", b, queries), kReduction, "dq");
      expect_close(grad[1], part("din.k", b, keys), kReduction, "dk");
      expect_close(grad[2], part("din.v", b, keys), kReduction, "dv");
    }
  }
}

}  // namespace
}  // namespace nemo::backend_cpu

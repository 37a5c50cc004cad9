#include "attention_pattern.hpp"

namespace nemo::cuda {

void add_forward(Pattern& a, const ForwardTensors& t) {
  CudnnGraph& g = a.graph;
  const auto x = a.masked(a.scaled_product(t.q, t.kt));
  const auto top = g.value(kF32, a.sizes.rows), sum = g.value(kF32, a.sizes.rows), log_sum = g.value(kF32, a.sizes.rows);
  g.reduce(CUDNN_REDUCE_TENSOR_MAX, x, top);
  const auto raised = a.scores(CUDNN_POINTWISE_EXP, a.scores(CUDNN_POINTWISE_SUB, x, top));
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, raised, sum);
  g.pointwise(CUDNN_POINTWISE_LOG, kF32, log_sum, sum);
  g.pointwise(CUDNN_POINTWISE_ADD, kF32, t.lse, top, log_sum);
  const auto weights = g.value(a.type, a.sizes.scores);
  g.pointwise(CUDNN_POINTWISE_DIV, kF32, weights, raised, sum);
  a.matmul_over_keys(weights, t.v, t.o);
}

void add_backward(Pattern& a, const BackwardTensors& t) {
  const AttentionSpec& p = a.spec();
  CudnnGraph& g = a.graph;
  // sums = rowsum(dO O)
  const auto products = g.value(kF32, {p.b, p.h, p.s, p.e}, {p.h * p.s * p.e, p.s * p.e, p.h * p.e, 1});
  const auto dots = g.value(kF32, a.sizes.rows, a.sizes.row_strides);
  g.pointwise(CUDNN_POINTWISE_MUL, kF32, products, t.dout, t.o);
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, products, dots);
  g.pointwise(CUDNN_POINTWISE_MUL, kF32, t.sums, dots, g.constant(1.0f));

  // P = exp(S - lse), dV = P^T dO
  const auto x = a.masked(a.scores(CUDNN_POINTWISE_SUB, a.scaled_product(t.q, t.kt), t.lse));
  const auto weights = a.scores(CUDNN_POINTWISE_EXP, x);
  a.matmul_per_kv_head(a.turned(weights), t.dout, t.dv, p.e, t.all_dv);

  // dS = P (dO V^T - sums) scale, dK = dS^T Q
  const auto dp = g.value(kF32, a.sizes.scores);
  a.matmul_to_scores(t.dout, t.vt, dp);
  const auto ds =
      a.scores(CUDNN_POINTWISE_MUL, a.scores(CUDNN_POINTWISE_MUL, a.scores(CUDNN_POINTWISE_SUB, dp, t.sums), weights), g.constant(p.scale));
  a.matmul_per_kv_head(a.turned(ds), t.q, t.dk, p.d, t.all_dk);

  // dQ = dS K, through an f32 accumulator that blocks add into
  const auto k = g.value(a.type, {p.b, p.g, p.t, p.d}, {t.k.batch, t.k.head, t.k.position, 1}, t.k_starts);
  g.reshape(t.kt, k);
  if (t.gathered < 0) return a.matmul_over_keys(ds, k, t.dq);
  a.matmul_over_keys(ds, k, t.gathered);
  g.pointwise(CUDNN_POINTWISE_IDENTITY, kF32, t.dq, t.gathered);
}

}  // namespace nemo::cuda

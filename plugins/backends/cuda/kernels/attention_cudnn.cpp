#include "attention_cudnn.hpp"

#include <limits>

namespace nemo::cuda {

namespace {

constexpr cudnnDataType_t kF32 = CUDNN_DATA_FLOAT, kI32 = CUDNN_DATA_INT32, kBool = CUDNN_DATA_BOOLEAN;

cudnnDataType_t storage(const AttentionSpec& p) { return p.dtype == NEMO_DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF; }

bool takes(const AttentionSpec& p, std::initializer_list<Heads> tensors) {
  if (p.dtype != NEMO_DTYPE_BF16 && p.dtype != NEMO_DTYPE_F16) return false;
  if (p.segments || p.extended() || p.softcap > 0 || p.d % 8 != 0 || p.e % 8 != 0 || p.d > 256 || p.e > 256) return false;
  if (p.s > p.t && (p.causal || p.window > 0)) return false;
  if (p.s == 1 && p.t == 1) return false;
  for (const Heads& x : tensors)
    if (x.batch % 8 != 0 || x.position % 8 != 0 || x.head % 8 != 0) return false;
  return true;
}

// Sizes of the score matrices and of what is reduced from them.
struct Sizes {
  Dims scores, rows, row_strides;
  explicit Sizes(const AttentionSpec& p) : scores{p.b, p.h, p.s, p.t}, rows{p.b, p.h, p.s, 1}, row_strides{p.h * p.s, p.s, 1, 1} {}
};

class Pattern {
 public:
  Pattern(std::shared_ptr<const Cudnn> cudnn, const AttentionSpec& p) : graph(std::move(cudnn)), p_(p), sizes(p), type(storage(p)) {}

  CudnnGraph::Id tensor(int64_t heads, int64_t positions, int64_t features, const Heads& x) {
    return graph.memory(type, {p_.b, heads, positions, features}, {x.batch, x.head, x.position, 1});
  }
  CudnnGraph::Id transposed(int64_t heads, int64_t positions, int64_t features, const Heads& x) {
    return graph.memory(type, {p_.b, heads, features, positions}, {x.batch, x.head, 1, x.position});
  }
  CudnnGraph::Id row_memory() { return graph.memory(kF32, sizes.rows, sizes.row_strides); }

  CudnnGraph::Id scores(cudnnPointwiseMode_t mode, CudnnGraph::Id x, CudnnGraph::Id b = -1) {
    const CudnnGraph::Id out = graph.value(kF32, sizes.scores);
    graph.pointwise(mode, kF32, out, x, b);
    return out;
  }
  CudnnGraph::Id scaled_product(CudnnGraph::Id q, CudnnGraph::Id kt) {
    const CudnnGraph::Id out = graph.value(kF32, sizes.scores);
    graph.matmul(q, kt, out);
    return scores(CUDNN_POINTWISE_MUL, out, graph.constant(p_.scale));
  }

  CudnnGraph::Id masked(CudnnGraph::Id x) {
    if (p_.causal) x = select(x, CUDNN_POINTWISE_CMP_GE, shifted_row(x), column(x));
    if (p_.window > 0) {
      // column + window - (t - s) > row; cuDNN's matcher wants the sum in f32.
      const CudnnGraph::Id row = index(2, x), bound = graph.value(kF32, sizes.scores), col = column(x);
      graph.pointwise(CUDNN_POINTWISE_ADD, kF32, bound, col, graph.constant(static_cast<float>(p_.window - p_.t + p_.s)));
      x = select(x, CUDNN_POINTWISE_CMP_GT, bound, row);
    }
    return x;
  }

  // [b h s t] seen as [b h t s], in storage precision.
  CudnnGraph::Id turned(CudnnGraph::Id x) {
    const CudnnGraph::Id out = graph.value(type, {p_.b, p_.h, p_.t, p_.s}, {p_.h * p_.s * p_.t, p_.s * p_.t, 1, p_.t});
    graph.reshape(x, out);
    return out;
  }

  // out = a b, summed over the query heads of each kv head.
  void matmul_per_kv_head(CudnnGraph::Id a, CudnnGraph::Id b, CudnnGraph::Id out, int64_t features) {
    if (p_.h == p_.g) return graph.matmul(a, b, out);
    const CudnnGraph::Id all = graph.value(type, {p_.b, p_.h, p_.t, features});
    graph.matmul(a, b, all);
    graph.reduce(CUDNN_REDUCE_TENSOR_ADD, all, out);
  }

  CudnnGraph graph;

 private:
  CudnnGraph::Id index(int64_t axis, CudnnGraph::Id like) {
    const CudnnGraph::Id out = graph.value(kI32, sizes.scores);
    graph.index(axis, like, out);
    return out;
  }
  CudnnGraph::Id column(CudnnGraph::Id like) { return index(3, like); }
  // Queries are aligned to the end of the keys.
  CudnnGraph::Id shifted_row(CudnnGraph::Id like) {
    CudnnGraph::Id row = index(2, like);
    if (p_.s == p_.t) return row;
    const CudnnGraph::Id plus = graph.value(kI32, sizes.scores), minus = graph.value(kI32, sizes.scores);
    graph.pointwise(CUDNN_POINTWISE_ADD, kI32, plus, row, graph.constant(static_cast<int32_t>(p_.t)));
    graph.pointwise(CUDNN_POINTWISE_SUB, kI32, minus, plus, graph.constant(static_cast<int32_t>(p_.s)));
    return minus;
  }
  CudnnGraph::Id select(CudnnGraph::Id x, cudnnPointwiseMode_t compare, CudnnGraph::Id left, CudnnGraph::Id right) {
    const CudnnGraph::Id mask = graph.value(kBool, sizes.scores), out = graph.value(kF32, sizes.scores);
    graph.pointwise(compare, kBool, mask, left, right);
    graph.pointwise(CUDNN_POINTWISE_BINARY_SELECT, kF32, out, x, graph.constant(-std::numeric_limits<float>::infinity()), mask);
    return out;
  }

  AttentionSpec p_;

 public:
  Sizes sizes;
  cudnnDataType_t type;
};

struct BackwardLayout {
  uint64_t sums, dq, total;  // offsets behind the plan's own workspace
  BackwardLayout(const CudnnPlan& plan, const AttentionSpec& p, DqOrder order) {
    sums = align_up(plan.workspace());
    dq = sums + align_up(static_cast<uint64_t>(p.b * p.h * p.s) * sizeof(float));
    total = dq + (order == DqOrder::fixed ? 0 : align_up(static_cast<uint64_t>(p.b * p.h * p.s * p.d) * sizeof(float)));
  }
};

}  // namespace

bool cudnn_takes(const AttentionForward& p) { return takes(p.spec, {p.q, p.k, p.v, p.o}); }
bool cudnn_takes(const AttentionBackward& p) { return takes(p.spec, {p.dout, p.q, p.k, p.v, p.o, p.dq, p.dk, p.dv}); }

std::shared_ptr<const CudnnPlan> build_forward(std::shared_ptr<const Cudnn> cudnn, const AttentionForward& f) {
  const AttentionSpec& p = f.spec;
  Pattern a(std::move(cudnn), p);
  const auto q = a.tensor(p.h, p.s, p.d, f.q), kt = a.transposed(p.g, p.t, p.d, f.k), v = a.tensor(p.g, p.t, p.e, f.v);
  const auto o = a.tensor(p.h, p.s, p.e, f.o), lse = a.row_memory();
  const auto x = a.masked(a.scaled_product(q, kt));
  const auto top = a.graph.value(kF32, a.sizes.rows), sum = a.graph.value(kF32, a.sizes.rows), log_sum = a.graph.value(kF32, a.sizes.rows);
  a.graph.reduce(CUDNN_REDUCE_TENSOR_MAX, x, top);
  const auto raised = a.scores(CUDNN_POINTWISE_EXP, a.scores(CUDNN_POINTWISE_SUB, x, top));
  a.graph.reduce(CUDNN_REDUCE_TENSOR_ADD, raised, sum);
  a.graph.pointwise(CUDNN_POINTWISE_LOG, kF32, log_sum, sum);
  a.graph.pointwise(CUDNN_POINTWISE_ADD, kF32, lse, top, log_sum);
  const auto weights = a.graph.value(a.type, a.sizes.scores);
  a.graph.pointwise(CUDNN_POINTWISE_DIV, kF32, weights, raised, sum);
  a.graph.matmul(weights, v, o);
  return a.graph.build();
}

std::shared_ptr<const CudnnPlan> build_backward(std::shared_ptr<const Cudnn> cudnn, const AttentionBackward& f, DqOrder order) {
  const AttentionSpec& p = f.spec;
  Pattern a(std::move(cudnn), p);
  const auto dout = a.tensor(p.h, p.s, p.e, f.dout), q = a.tensor(p.h, p.s, p.d, f.q), kt = a.transposed(p.g, p.t, p.d, f.k),
             vt = a.transposed(p.g, p.t, p.e, f.v), o = a.tensor(p.h, p.s, p.e, f.o), lse = a.row_memory();
  const auto dq = a.tensor(p.h, p.s, p.d, f.dq), dk = a.tensor(p.g, p.t, p.d, f.dk), dv = a.tensor(p.g, p.t, p.e, f.dv),
             sums = a.row_memory();

  // sums = rowsum(dO O)
  const auto products = a.graph.value(kF32, {p.b, p.h, p.s, p.e}, {p.h * p.s * p.e, p.s * p.e, p.h * p.e, 1});
  const auto dots = a.graph.value(kF32, a.sizes.rows, a.sizes.row_strides);
  a.graph.pointwise(CUDNN_POINTWISE_MUL, kF32, products, dout, o);
  a.graph.reduce(CUDNN_REDUCE_TENSOR_ADD, products, dots);
  a.graph.pointwise(CUDNN_POINTWISE_MUL, kF32, sums, dots, a.graph.constant(1.0f));

  // P = exp(S - lse), dV = P^T dO
  const auto x = a.masked(a.scores(CUDNN_POINTWISE_SUB, a.scaled_product(q, kt), lse));
  const auto weights = a.scores(CUDNN_POINTWISE_EXP, x);
  a.matmul_per_kv_head(a.turned(weights), dout, dv, p.e);

  // dS = P (dO V^T - sums) scale, dK = dS^T Q
  const auto dp = a.graph.value(kF32, a.sizes.scores);
  a.graph.matmul(dout, vt, dp);
  const auto ds = a.scores(CUDNN_POINTWISE_MUL, a.scores(CUDNN_POINTWISE_MUL, a.scores(CUDNN_POINTWISE_SUB, dp, sums), weights),
                           a.graph.constant(p.scale));
  a.matmul_per_kv_head(a.turned(ds), q, dk, p.d);

  // dQ = dS K, through an f32 accumulator that blocks add into; without one cuDNN keeps dS in memory and sums in order.
  const auto k = a.graph.value(a.type, {p.b, p.g, p.t, p.d}, {f.k.batch, f.k.head, f.k.position, 1});
  a.graph.reshape(kt, k);
  if (order == DqOrder::fixed) {
    a.graph.matmul(ds, k, dq);
  } else {
    const auto gathered = a.graph.memory(kF32, {p.b, p.h, p.s, p.d}, {p.h * p.s * p.d, p.s * p.d, p.d, 1});
    a.graph.matmul(ds, k, gathered);
    a.graph.pointwise(CUDNN_POINTWISE_IDENTITY, kF32, dq, gathered);
  }
  return a.graph.build();
}

uint64_t backward_workspace(const CudnnPlan& plan, const AttentionBackward& p, DqOrder order) {
  return BackwardLayout(plan, p.spec, order).total;
}

void run_forward(CudnnBinding& binding, const ForwardPointers& x, cudaStream_t stream, void* workspace) {
  auto free = [](const void* p) { return const_cast<void*>(p); };
  void* const addresses[] = {free(x.q), free(x.k), free(x.v), x.o, x.lse};
  binding.execute(stream, addresses, workspace);
}

void run_backward(CudnnBinding& binding, const AttentionBackward& p, DqOrder order, const BackwardPointers& x, cudaStream_t stream,
                  void* workspace) {
  auto free = [](const void* p) { return const_cast<void*>(p); };
  const BackwardLayout layout(binding.plan(), p.spec, order);
  char* base = static_cast<char*>(workspace);
  void* const addresses[] = {free(x.dout), free(x.q), free(x.k), free(x.v),          free(x.o),       const_cast<float*>(x.lse),
                             x.dq,         x.dk,      x.dv,      base + layout.sums, base + layout.dq};
  binding.execute(stream, std::span(addresses).first(order == DqOrder::any ? 11 : 10), workspace);
}

}  // namespace nemo::cuda

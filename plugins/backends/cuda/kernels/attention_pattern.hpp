// The pieces of cuDNN's patterns of attention: tensors, scores, masks and products, with or without sequences of their own lengths.
#pragma once

#include <limits>

#include "attention.hpp"
#include "cudnn_graph.hpp"

namespace nemo::cuda {

inline constexpr cudnnDataType_t kF32 = CUDNN_DATA_FLOAT, kI32 = CUDNN_DATA_INT32, kBool = CUDNN_DATA_BOOLEAN;

inline cudnnDataType_t storage(const AttentionSpec& p) { return p.dtype == NEMO_DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF; }

// Sizes of the score matrices and of what is reduced from them.
struct Sizes {
  Dims scores, rows, row_strides;  // row_strides: as [b h s]
  explicit Sizes(const AttentionSpec& p) : scores{p.b, p.h, p.s, p.t}, rows{p.b, p.h, p.s, 1}, row_strides{p.h * p.s, p.s, 1, 1} {}
};

class Pattern {
 public:
  Pattern(std::shared_ptr<const Cudnn> cudnn, const AttentionSpec& p) : graph(std::move(cudnn)), p_(p), sizes(p), type(storage(p)) {}

  // starts: of a tensor whose sequences begin where an i32 tensor says (CudnnGraph::memory).
  CudnnGraph::Id tensor(int64_t heads, int64_t positions, int64_t features, const Heads& x, CudnnGraph::Id starts = -1) {
    return graph.memory(type, {p_.b, heads, positions, features}, {x.batch, x.head, x.position, 1}, starts);
  }
  CudnnGraph::Id transposed(int64_t heads, int64_t positions, int64_t features, const Heads& x, CudnnGraph::Id starts = -1) {
    return graph.memory(type, {p_.b, heads, features, positions}, {x.batch, x.head, 1, x.position}, starts);
  }
  // Memory of an i32 for each sequence, `more` of them behind.
  CudnnGraph::Id list(int64_t more) { return graph.memory(kI32, {p_.b + more, 1, 1, 1}, {1, 1, 1, 1}); }
  // From here on sequences have lengths of their own: of queries, of keys.
  void set_lengths(CudnnGraph::Id queries, CudnnGraph::Id keys) { queries_ = queries, keys_ = keys; }
  CudnnGraph::Id row_memory() { return graph.memory(kF32, sizes.rows, sizes.row_strides); }

  CudnnGraph::Id scores(cudnnPointwiseMode_t mode, CudnnGraph::Id x, CudnnGraph::Id b = -1) {
    const CudnnGraph::Id out = graph.value(kF32, sizes.scores);
    graph.pointwise(mode, kF32, out, x, b);
    return out;
  }
  CudnnGraph::Id scaled_product(CudnnGraph::Id q, CudnnGraph::Id kt) {
    const CudnnGraph::Id out = graph.value(kF32, sizes.scores);
    graph.matmul(q, kt, out, {queries_, keys_, -1});
    return scores(CUDNN_POINTWISE_MUL, out, graph.constant(p_.scale));
  }

  CudnnGraph::Id masked(CudnnGraph::Id x) {
    if (queries_ >= 0) x = inside(x);
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

  // out = a b, summed over the query heads of each kv head, whose own products may be given memory: `all`.
  void matmul_per_kv_head(CudnnGraph::Id a, CudnnGraph::Id b, CudnnGraph::Id out, int64_t features, CudnnGraph::Id all = -1) {
    const CudnnGraph::Limits limits{keys_, -1, queries_};
    if (p_.h == p_.g) return graph.matmul(a, b, out, limits);
    if (all < 0) all = graph.value(type, {p_.b, p_.h, p_.t, features});
    graph.matmul(a, b, all, limits);
    graph.reduce(CUDNN_REDUCE_TENSOR_ADD, all, out);
  }
  // Products over keys, of dO V^T and dS K.
  void matmul_to_scores(CudnnGraph::Id a, CudnnGraph::Id b, CudnnGraph::Id out) { graph.matmul(a, b, out, {queries_, keys_, -1}); }
  void matmul_over_keys(CudnnGraph::Id a, CudnnGraph::Id b, CudnnGraph::Id out) { graph.matmul(a, b, out, {queries_, -1, keys_}); }

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
  // Positions that exist: row < length of queries and column < length of keys.
  CudnnGraph::Id inside(CudnnGraph::Id x) {
    const CudnnGraph::Id row = index(2, x), col = index(3, x);
    const CudnnGraph::Id low = graph.value(kBool, sizes.scores), left = graph.value(kBool, sizes.scores),
                         both = graph.value(kBool, sizes.scores), out = graph.value(kF32, sizes.scores);
    graph.pointwise(CUDNN_POINTWISE_CMP_LT, kBool, low, row, queries_);
    graph.pointwise(CUDNN_POINTWISE_CMP_LT, kBool, left, col, keys_);
    graph.pointwise(CUDNN_POINTWISE_LOGICAL_AND, kBool, both, low, left);
    graph.pointwise(CUDNN_POINTWISE_BINARY_SELECT, kF32, out, x, graph.constant(-std::numeric_limits<float>::infinity()), both);
    return out;
  }
  CudnnGraph::Id select(CudnnGraph::Id x, cudnnPointwiseMode_t compare, CudnnGraph::Id left, CudnnGraph::Id right) {
    const CudnnGraph::Id mask = graph.value(kBool, sizes.scores), out = graph.value(kF32, sizes.scores);
    graph.pointwise(compare, kBool, mask, left, right);
    graph.pointwise(CUDNN_POINTWISE_BINARY_SELECT, kF32, out, x, graph.constant(-std::numeric_limits<float>::infinity()), mask);
    return out;
  }

  AttentionSpec p_;
  CudnnGraph::Id queries_ = -1, keys_ = -1;

 public:
  Sizes sizes;
  cudnnDataType_t type;
  const AttentionSpec& spec() const { return p_; }
};

// The tensors in memory. kt, vt: keys and values transposed by their strides.
struct ForwardTensors {
  CudnnGraph::Id q, kt, v, o, lse;
};
void add_forward(Pattern& a, const ForwardTensors& x);

struct BackwardTensors {
  CudnnGraph::Id dout, q, kt, vt, o, lse, dq, dk, dv;
  CudnnGraph::Id sums;                      // f32, rows: workspace
  CudnnGraph::Id gathered = -1;             // f32, as dq: blocks add into it, in any order; -1: cuDNN keeps dS in memory and sums in order
  CudnnGraph::Id all_dk = -1, all_dv = -1;  // per query head, where these are more than kv heads; -1: inside the kernel
  Heads k;
  CudnnGraph::Id k_starts = -1;
};
void add_backward(Pattern& a, const BackwardTensors& x);

}  // namespace nemo::cuda

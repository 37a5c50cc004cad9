// moe_dispatch, moe_combine and gradients: rows move between token order and expert order. Bound by memory: each reads and writes every row
// once. No atomics on values: a token gathers its own rows.
#include "groups.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

// Rows of [*a k d] as a matrix, tokens of [*a d].
Matrix rows_of(const Node& node, const Tensor& t) { return node.matrix(t, node.group_rank('a') + 1); }
Matrix tokens_of(const Node& node, const Tensor& t) { return node.matrix(t, node.group_rank('a')); }

struct Move {
  int64_t tokens, k, d;
  int64_t ld_rows, ld_tokens, ld_more;
};

template <class T, int N>
__global__ void scatter_kernel(const Move m, const T* x, const int32_t* slots, T* rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, vectors = m.d / N;
  if (i >= m.tokens * m.k * vectors) return;
  const int64_t choice = i / vectors, at = (i - choice * vectors) * N;
  using V = Raw<T, N>;
  *reinterpret_cast<V*>(rows + slots[choice] * m.ld_rows + at) = load_raw<T, N>(x, choice / m.k * m.ld_tokens + at);
}

// y[a] = sum_k w rows[slots[a k]]; weights nullptr: 1.
template <class T, int N>
__global__ void gather_kernel(const Move m, const T* rows, const int32_t* slots, const float* weights, T* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, vectors = m.d / N;
  if (i >= m.tokens * vectors) return;
  const int64_t token = i / vectors, at = (i - token * vectors) * N;
  float sum[N] = {};
  for (int64_t j = 0; j < m.k; ++j) {
    float v[N];
    load<N>(rows + slots[token * m.k + j] * m.ld_rows + at, v);
    const float w = weights != nullptr ? weights[token * m.k + j] : 1.0f;
#pragma unroll
    for (int e = 0; e < N; ++e) sum[e] += w * v[e];
  }
  store<N>(y + token * m.ld_tokens + at, sum);
}

// A warp per choice: drows = w dy, dweights = dy . row. ld_more: of drows.
template <class T, int N>
__global__ void __launch_bounds__(128)
    combine_grad_kernel(const Move m, const T* dy, const T* rows, const int32_t* slots, const float* weights, T* drows, float* dweights) {
  const int64_t choice = static_cast<int64_t>(blockIdx.x) * 4 + threadIdx.x / 32;
  if (choice >= m.tokens * m.k) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t slot = slots[choice];
  const T *up = dy + choice / m.k * m.ld_tokens, *row = rows + slot * m.ld_rows;
  T* to = drows + slot * m.ld_more;
  const float w = weights[choice];
  float dot = 0;
#pragma unroll 2
  for (int64_t at = lane * N; at < m.d; at += 32 * N) {
    float u[N], r[N];
    load<N>(up + at, u);
    load<N>(row + at, r);
#pragma unroll
    for (int e = 0; e < N; ++e) dot += u[e] * r[e], u[e] *= w;
    store<N>(to + at, u);
  }
  for (int step = 16; step > 0; step /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, step);
  if (lane == 0) dweights[choice] = dot;
}

bool vectors_fit(const Move& m, int lanes, std::initializer_list<const void*> pointers) {
  bool fit = m.d % lanes == 0 && m.ld_rows % lanes == 0 && m.ld_tokens % lanes == 0 && m.ld_more % lanes == 0;
  for (const void* p : pointers) fit = fit && aligned16(p);
  return fit;
}

Prepared gather(const Node& node, const Matrix& rows, const Matrix& tokens, bool weighted) {
  const Move m{node.size('a'), node.size('k'), node.size('d'), rows.ld, tokens.ld, 0};
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (m.tokens * m.d == 0) return;
      const float* weights = weighted ? l.in<float>(2) : nullptr;
      if (vectors_fit(m, kLanes<T>, {l.in(0), l.out(0)}))
        gather_kernel<T, kLanes<T>>
            <<<grid_of(m.tokens * m.d / kLanes<T>, 256), 256, 0, l.stream()>>>(m, l.in<T>(0), l.in<int32_t>(1), weights, l.out<T>(0));
      else
        gather_kernel<T, 1><<<grid_of(m.tokens * m.d, 256), 256, 0, l.stream()>>>(m, l.in<T>(0), l.in<int32_t>(1), weights, l.out<T>(0));
    });
  });
}

}  // namespace

NEMO_CUDA_KERNEL(moe_dispatch) {
  const Matrix x = tokens_of(node, node.in(0)), rows = rows_of(node, node.out(0));
  for (const Tensor* t : {&node.in(1), &node.out(1), &node.out(2)}) node.need_contiguous(*t);
  const Move m{node.size('a'), node.size('k'), node.size('d'), rows.ld, x.ld, 0};
  const GroupOrder sort{m.tokens * m.k, node.integer("experts"), 0, 1};
  sort.check(node);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel(
        [=, fault = device.fault](const Launch& l) {
          if (m.tokens * m.k == 0) return;
          sort.run(l.in<int32_t>(1), l.workspace<char>(), {l.out<int32_t>(2), l.out<int32_t>(1), fault}, l.stream());
          const int64_t values = m.tokens * m.k * m.d;
          if (values == 0) return;
          if (vectors_fit(m, kLanes<T>, {l.in(0), l.out(0)}))
            scatter_kernel<T, kLanes<T>>
                <<<grid_of(values / kLanes<T>, 256), 256, 0, l.stream()>>>(m, l.in<T>(0), l.out<int32_t>(2), l.out<T>(0));
          else
            scatter_kernel<T, 1><<<grid_of(values, 256), 256, 0, l.stream()>>>(m, l.in<T>(0), l.out<int32_t>(2), l.out<T>(0));
        },
        sort.workspace());
  });
}

NEMO_CUDA_KERNEL(moe_dispatch_grad) {
  node.need_contiguous(node.in(1));
  return gather(node, rows_of(node, node.in(0)), tokens_of(node, node.out(0)), false);
}

NEMO_CUDA_KERNEL(moe_combine) {
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.in(2));
  return gather(node, rows_of(node, node.in(0)), tokens_of(node, node.out(0)), true);
}

NEMO_CUDA_KERNEL(moe_combine_grad) {
  const Matrix dy = tokens_of(node, node.in(0)), rows = rows_of(node, node.in(1)), drows = rows_of(node, node.out(0));
  for (const Tensor* t : {&node.in(2), &node.in(3), &node.out(1)}) node.need_contiguous(*t);
  const Move m{node.size('a'), node.size('k'), node.size('d'), rows.ld, dy.ld, drows.ld};
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (m.tokens * m.k == 0) return;
      const unsigned grid = grid_of(m.tokens * m.k, 4);
      if (vectors_fit(m, kLanes<T>, {l.in(0), l.in(1), l.out(0)}))
        combine_grad_kernel<T, kLanes<T>>
            <<<grid, 128, 0, l.stream()>>>(m, l.in<T>(0), l.in<T>(1), l.in<int32_t>(2), l.in<float>(3), l.out<T>(0), l.out<float>(1));
      else
        combine_grad_kernel<T, 1>
            <<<grid, 128, 0, l.stream()>>>(m, l.in<T>(0), l.in<T>(1), l.in<int32_t>(2), l.in<float>(3), l.out<T>(0), l.out<float>(1));
    });
  });
}

}  // namespace nemo::cuda

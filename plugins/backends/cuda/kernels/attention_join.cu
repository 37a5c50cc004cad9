// attention_join: results for two sets of keys become the result for both. Bound by memory: reads both, writes one.
//   y_lse = log(e^lse + e^more_lse), y = e^(lse - y_lse) o + e^(more_lse - y_lse) more
#include "kernels/attention.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

Heads heads(const Tensor& t) {
  if (t.size() == 0) return {};
  return {t.strides[0], t.strides[1], t.strides[2]};
}
__device__ __forceinline__ int64_t place(const Heads& x, int64_t b, int64_t s, int64_t h) {
  return b * x.batch + s * x.position + h * x.head;
}

struct Join {
  int64_t s, h, e;
  Heads o, more, y;
};

template <class T, int N>
__global__ void join_kernel(const Join j, int64_t rows, const T* o, const float* lse, const T* more, const float* more_lse, T* y,
                            float* y_lse) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, vectors = j.e / N;
  if (i >= rows * vectors) return;
  const int64_t row = i / vectors, at = (i - row * vectors) * N;  // rows in the order [b s h]
  const int64_t head = row % j.h, s = row / j.h % j.s, b = row / j.h / j.s, sum_at = (b * j.h + head) * j.s + s;
  const float p = lse[sum_at], q = more_lse[sum_at], top = fmaxf(p, q);
  const bool nothing = top == -INFINITY;
  const float wp = nothing ? 0.0f : expf(p - top), wq = nothing ? 0.0f : expf(q - top), sum = wp + wq;
  const float fp = nothing ? 0.0f : wp / sum, fq = nothing ? 0.0f : wq / sum;
  float x[N], z[N];
  load<N>(o + place(j.o, b, s, head) + at, x);
  load<N>(more + place(j.more, b, s, head) + at, z);
#pragma unroll
  for (int e = 0; e < N; ++e) x[e] = fp * x[e] + fq * z[e];
  store<N>(y + place(j.y, b, s, head) + at, x);
  if (at == 0) y_lse[sum_at] = nothing ? top : top + logf(sum);
}

bool vectors_fit(const Join& j, int lanes, std::initializer_list<const void*> pointers) {
  bool fit = j.e % lanes == 0;
  for (const Heads& x : {j.o, j.more, j.y}) fit = fit && x.batch % lanes == 0 && x.position % lanes == 0 && x.head % lanes == 0;
  for (const void* p : pointers) fit = fit && aligned16(p);
  return fit;
}

}  // namespace

NEMO_CUDA_KERNEL(attention_join) {
  for (const Tensor* t : {&node.in(1), &node.in(3), &node.out(1)}) node.need_contiguous(*t);
  const Join j{node.size('s'), node.size('h'), node.size('e'), heads(node.in(0)), heads(node.in(2)), heads(node.out(0))};
  const int64_t rows = node.size('b') * j.s * j.h;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (rows * j.e == 0) return;
      constexpr int N = kLanes<T>;
      if (vectors_fit(j, N, {l.in(0), l.in(2), l.out(0)}))
        join_kernel<T, N><<<grid_of(rows * j.e / N, 256), 256, 0, l.stream()>>>(j, rows, l.in<T>(0), l.in<float>(1), l.in<T>(2),
                                                                                l.in<float>(3), l.out<T>(0), l.out<float>(1));
      else
        join_kernel<T, 1><<<grid_of(rows * j.e, 256), 256, 0, l.stream()>>>(j, rows, l.in<T>(0), l.in<float>(1), l.in<T>(2), l.in<float>(3),
                                                                            l.out<T>(0), l.out<float>(1));
    });
  });
}

}  // namespace nemo::cuda

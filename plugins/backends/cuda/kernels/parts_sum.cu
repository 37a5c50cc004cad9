#include "../parts_sum.hpp"

#include "device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // of a thread, loaded before the first is added

// N elements a vector; N = 1 where parts do not begin at 16 bytes.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) sum_kernel(const T* __restrict__ parts, T* __restrict__ out, int64_t n, int count) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads * kVectors + threadIdx.x) * N;
  float sum[kVectors][N];
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (const int64_t i = first + static_cast<int64_t>(v) * kThreads * N; i < n) load<N>(parts + i, sum[v]);
  for (int p = 1; p < count; ++p) {
    float x[kVectors][N];
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
      if (const int64_t i = first + static_cast<int64_t>(v) * kThreads * N; i < n) load<N>(parts + p * n + i, x[v]);
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
#pragma unroll
      for (int e = 0; e < N; ++e) sum[v][e] += x[v][e];
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (const int64_t i = first + static_cast<int64_t>(v) * kThreads * N; i < n) store<N>(out + i, sum[v]);
}

template <class T, int N>
void launch(const void* parts, void* out, int64_t n, int count, cudaStream_t stream) {
  sum_kernel<T, N>
      <<<grid_of(n, int64_t{kThreads} * kVectors * N), kThreads, 0, stream>>>(static_cast<const T*>(parts), static_cast<T*>(out), n, count);
}

}  // namespace

bool can_sum_parts(nemo_dtype dtype) { return dtype == NEMO_DTYPE_F32 || dtype == NEMO_DTYPE_BF16 || dtype == NEMO_DTYPE_F16; }

void sum_parts(const void* parts, void* out, int64_t n, int count, nemo_dtype dtype, cudaStream_t stream) {
  if (n == 0) return;
  with_type(dtype, [&](auto tag) {
    using T = decltype(tag);
    if (n % kLanes<T> == 0 && aligned16(parts) && aligned16(out))
      launch<T, kLanes<T>>(parts, out, n, count, stream);
    else
      launch<T, 1>(parts, out, n, count, stream);
  });
}

}  // namespace nemo::cuda

#include "../parts_sum.hpp"

#include "device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // of a thread, loaded before the first is added

template <class T>
__device__ __forceinline__ const T* part_of(const Parts& parts, int p) {
  return static_cast<const T*>(p == parts.own_rank ? parts.own : parts.first) + (p == parts.own_rank ? 0 : p * parts.stride);
}

// N elements a vector; N = 1 where parts do not begin at 16 bytes.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) sum_kernel(const Parts parts, T* out, int64_t n) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads * kVectors + threadIdx.x) * N;
  float sum[kVectors][N];
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (const int64_t i = first + static_cast<int64_t>(v) * kThreads * N; i < n) load<N>(part_of<T>(parts, 0) + i, sum[v]);
  for (int p = 1; p < parts.count; ++p) {
    float x[kVectors][N];
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
      if (const int64_t i = first + static_cast<int64_t>(v) * kThreads * N; i < n) load<N>(part_of<T>(parts, p) + i, x[v]);
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
void launch(const Parts& parts, void* out, int64_t n, cudaStream_t stream) {
  sum_kernel<T, N><<<grid_of(n, int64_t{kThreads} * kVectors * N), kThreads, 0, stream>>>(parts, static_cast<T*>(out), n);
}

}  // namespace

bool can_sum_parts(nemo_dtype dtype) { return dtype == NEMO_DTYPE_F32 || dtype == NEMO_DTYPE_BF16 || dtype == NEMO_DTYPE_F16; }

void sum_parts(const Parts& parts, void* out, int64_t n, nemo_dtype dtype, cudaStream_t stream) {
  if (n == 0) return;
  with_type(dtype, [&](auto tag) {
    using T = decltype(tag);
    if (n % kLanes<T> == 0 && parts.stride % kLanes<T> == 0 && aligned16(parts.first) && aligned16(parts.own) && aligned16(out))
      launch<T, kLanes<T>>(parts, out, n, stream);
    else
      launch<T, 1>(parts, out, n, stream);
  });
}

}  // namespace nemo::cuda

// Elements of a product computed one by one, to see whether an algorithm is right.
#include "gemm_check.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kThreads = 256;

struct Place {
  int64_t row, col;
};
__device__ Place place_of(int sample, int64_t m, int64_t n) {
  const uint64_t h = (static_cast<uint64_t>(sample) + 1) * 0x9e3779b97f4a7c15u;
  return {static_cast<int64_t>((h >> 33) % static_cast<uint64_t>(m)), static_cast<int64_t>((h >> 7) % static_cast<uint64_t>(n))};
}

template <class T>
__global__ void __launch_bounds__(kThreads) wanted_kernel(const Product p, const T* a, const T* b, float* wanted) {
  __shared__ double parts[kThreads];
  const Place at = place_of(static_cast<int>(blockIdx.x), p.m, p.n);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < p.k; i += kThreads) {
    const float x = widen(p.ta == Transpose::no ? a[at.row * p.lda + i] : a[i * p.lda + at.row]);
    const float y = widen(p.tb == Transpose::no ? b[i * p.ldb + at.col] : b[at.col * p.ldb + i]);
    sum += static_cast<double>(x * y);
  }
  parts[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int t = 1; t < kThreads; ++t) sum += parts[t];
  wanted[blockIdx.x] = static_cast<float>(sum);
}

template <class C>
__global__ void got_kernel(const Product p, const C* c, float* got) {
  const Place at = place_of(static_cast<int>(threadIdx.x), p.m, p.n);
  got[threadIdx.x] = widen(c[at.row * p.ldc + at.col]);
}

}  // namespace

void compute_samples(const Product& p, const void* a, const void* b, float* wanted, cudaStream_t stream) {
  with_type(p.ab, [&](auto tag) {
    using T = decltype(tag);
    wanted_kernel<T><<<kSamples, kThreads, 0, stream>>>(p, static_cast<const T*>(a), static_cast<const T*>(b), wanted);
  });
}

void read_samples(const Product& p, const void* c, float* got, cudaStream_t stream) {
  with_type(p.c, [&](auto tag) {
    using C = decltype(tag);
    got_kernel<C><<<1, kSamples, 0, stream>>>(p, static_cast<const C*>(c), got);
  });
}

}  // namespace nemo::cuda

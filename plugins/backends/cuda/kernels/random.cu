// Random data for the search of matrix product algorithms.
#include <cuda_fp8.h>

#include "gemm_tuner.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

template <class T>
__global__ void random_kernel(T* x, int64_t n, uint32_t seed) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    uint32_t h = static_cast<uint32_t>(i) * 0x9E3779B9u + seed * 0x85EBCA6Bu;
    h = (h ^ (h >> 16)) * 0x7FEB352Du;
    h = (h ^ (h >> 15)) * 0x846CA68Bu;
    h ^= h >> 16;
    const float value = static_cast<float>(h) * 4.656612873e-10f - 1.0f;
    if constexpr (sizeof(T) == 1)
      x[i] = T(value);
    else
      x[i] = narrow<T>(value);
  }
}

template <class T>
void fill(void* data, int64_t n, uint32_t seed, cudaStream_t stream) {
  random_kernel<T><<<1024, 256, 0, stream>>>(static_cast<T*>(data), n, seed);
}

}  // namespace

void fill_random(void* data, nemo_dtype dtype, int64_t n, uint32_t seed, cudaStream_t stream) {
  if (dtype == NEMO_DTYPE_E4M3)
    fill<__nv_fp8_e4m3>(data, n, seed, stream);
  else if (dtype == NEMO_DTYPE_E5M2)
    fill<__nv_fp8_e5m2>(data, n, seed, stream);
  else
    with_type(dtype, [&](auto tag) { fill<decltype(tag)>(data, n, seed, stream); });
  check(cudaGetLastError(), "random data");
}

}  // namespace nemo::cuda

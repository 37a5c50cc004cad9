// Included by every kernel source: element conversions, vector access, block reductions. bf16 and f16 are widened to f32 on load and
// rounded to nearest even on store.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "table.hpp"

namespace nemo::cuda {

using bf16 = __nv_bfloat16;
using f16 = __half;

// Elements of T in 16 bytes.
template <class T>
constexpr int kLanes = 16 / sizeof(T);

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(f16 x) { return __half2float(x); }
template <class T>
__device__ __forceinline__ T narrow(float x) {
  if constexpr (std::is_same_v<T, bf16>)
    return __float2bfloat16_rn(x);
  else if constexpr (std::is_same_v<T, f16>)
    return __float2half_rn(x);
  else
    return x;
}

// N elements at p, which must be aligned to min(16, N sizeof(T)) bytes; N is 1, 4 or 8.
template <int N>
__device__ __forceinline__ void load(const float* p, float (&x)[N]) {
  if constexpr (N == 1) {
    x[0] = *p;
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(p + i);
      x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
    }
  }
}
template <class T>
__device__ __forceinline__ void unpack(uint32_t w, float& low, float& high) {
  if constexpr (std::is_same_v<T, f16>) {
    const float2 v = __half22float2(*reinterpret_cast<const __half2*>(&w));
    low = v.x, high = v.y;
  } else {
    low = __uint_as_float(w << 16);
    high = __uint_as_float(w & 0xffff0000u);
  }
}
template <int N, class T>
__device__ __forceinline__ std::enable_if_t<sizeof(T) == 2> load(const T* p, float (&x)[N]) {
  if constexpr (N == 1) {
    x[0] = widen(*p);
  } else if constexpr (N == 4) {
    const uint2 v = *reinterpret_cast<const uint2*>(p);
    unpack<T>(v.x, x[0], x[1]);
    unpack<T>(v.y, x[2], x[3]);
  } else {
    const uint4 v = *reinterpret_cast<const uint4*>(p);
    unpack<T>(v.x, x[0], x[1]);
    unpack<T>(v.y, x[2], x[3]);
    unpack<T>(v.z, x[4], x[5]);
    unpack<T>(v.w, x[6], x[7]);
  }
}
template <int N>
__device__ __forceinline__ void store(float* p, const float (&x)[N]) {
  if constexpr (N == 1) {
    *p = x[0];
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 4) *reinterpret_cast<float4*>(p + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
  }
}
template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<T, f16>) {
    const __half2 v = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&v);
  }
  const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&v);
}
template <int N, class T>
__device__ __forceinline__ std::enable_if_t<sizeof(T) == 2> store(T* p, const float (&x)[N]) {
  if constexpr (N == 1)
    *p = narrow<T>(x[0]);
  else if constexpr (N == 4)
    *reinterpret_cast<uint2*>(p) = make_uint2(pack<T>(x[0], x[1]), pack<T>(x[2], x[3]));
  else
    *reinterpret_cast<uint4*>(p) = make_uint4(pack<T>(x[0], x[1]), pack<T>(x[2], x[3]), pack<T>(x[4], x[5]), pack<T>(x[6], x[7]));
}

// N elements as they lie in memory, for loads that are issued long before their use.
template <class T, int N>
struct alignas(N * sizeof(T) > 16 ? 16 : N * sizeof(T)) Raw {
  T v[N];
};
template <class T, int N>
__device__ __forceinline__ Raw<T, N> load_raw(const void* base, int64_t at) {
  const T* p = static_cast<const T*>(base) + at;
  Raw<T, N> r;
  if constexpr (N * sizeof(T) == 16)
    *reinterpret_cast<uint4*>(&r) = *reinterpret_cast<const uint4*>(p);
  else
    for (int i = 0; i < N; ++i) r.v[i] = p[i];
  return r;
}
template <class T, int N>
__device__ __forceinline__ void widen(const Raw<T, N>& r, float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = widen(r.v[i]);
}

// *out becomes the maximum of itself and every thread's `top`, which is not negative: such floats are ordered as their bits are, so the
// result is exact in any order. By whole warps.
__device__ __forceinline__ void raise_to(float* out, float top) {
  const unsigned most = __reduce_max_sync(0xffffffffu, __float_as_uint(top));
  if (threadIdx.x % 32 == 0 && most > __float_as_uint(__ldcg(out))) atomicMax(reinterpret_cast<unsigned*>(out), most);
}

struct Sum {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a + b;
  }
};
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Combines `kCount` values of every thread over the block, in a fixed order; every thread gets the result. blockDim.x is a multiple of 32.
// `scratch` holds 32 kCount values and must not be in use by another call without a barrier in between.
template <int kCount, class C, class F>
__device__ __forceinline__ void block_reduce(C (&x)[kCount], C* scratch, F combine) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
#pragma unroll
    for (int k = 0; k < kCount; ++k) x[k] = combine(x[k], __shfl_xor_sync(0xffffffffu, x[k], offset));
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (warps == 1) return;
  if (threadIdx.x % 32 == 0)
#pragma unroll
    for (int k = 0; k < kCount; ++k) scratch[k * 32 + threadIdx.x / 32] = x[k];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kCount; ++k) x[k] = scratch[k * 32];
  for (int w = 1; w < warps; ++w)
#pragma unroll
    for (int k = 0; k < kCount; ++k) x[k] = combine(x[k], scratch[k * 32 + w]);
}

// Calls f with a value of the C++ type of the dtype; the caller has checked is_floating.
template <class F>
decltype(auto) with_type(nemo_dtype d, F&& f) {
  if (d == NEMO_DTYPE_BF16) return f(bf16{});
  if (d == NEMO_DTYPE_F16) return f(f16{});
  return f(float{});
}

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline unsigned grid_of(int64_t work, int64_t per_block) {
  return static_cast<unsigned>(std::max<int64_t>(1, std::min<int64_t>(ceil_div(work, per_block), 0x7fffffff)));
}

}  // namespace nemo::cuda

// Pieces of the own attention kernels: warp tiles of 16 rows in the register layout of mma.m16n8k16, shared-memory tiles of rows, the mask.
//
// Register layout of a 16 x 8n tile: c[n][0..1] = row lane/4, columns 8n + 2 (lane%4) + {0, 1}; c[n][2..3] = the same columns of row lane/4
// + 8. Shared tiles are row-major with kRowPitch<T, D> elements from row to row (16 bytes of padding against bank conflicts).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <climits>
#include <type_traits>

#include "attention.hpp"

namespace nemo::cuda::attention {

constexpr int kQueryRows = 64, kKeyRows = 64;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

template <class T, int D>
constexpr int kRowPitch = D + 16 / static_cast<int>(sizeof(T));

template <class T>
__device__ inline T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half narrow<__half>(float x) {
  return __float2half_rn(x);
}
__device__ inline float widen(float x) { return x; }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float widen(__half x) { return __half2float(x); }

// A dtype that the tensor cores multiply as it is: bf16 or f16.
template <class H>
using IsHalf = std::enable_if_t<sizeof(H) == 2>;

__device__ inline bool shut(const int32_t* gate) { return gate != nullptr && *gate == 0; }

// What every kernel needs of the shapes and the mask.
struct Problem {
  int b, s, t, h, g, d, e;
  int window;  // 0: none
  bool causal, vector;
  float scale, softcap;
  const int32_t* segments;
  AttentionExtras extras;
  int alibi, alibi_first;

  // Keys that query i may see, segments aside: [first_key(i), last_key(i)); queries that may see key j: [first_query(j), last_query(j)).
  __device__ int first_key(int i) const { return window > 0 ? min(max(i + t - s - window + 1, 0), t) : 0; }
  __device__ int last_key(int i) const { return causal ? min(max(i + t - s + 1, 0), t) : t; }
  __device__ int first_query(int j) const { return causal ? min(max(j - t + s, 0), s) : 0; }
  __device__ int last_query(int j) const { return window > 0 ? min(max(j - t + s + window, 0), s) : s; }

  // Keys of a sequence that exist.
  __device__ int keys_of(int batch) const { return extras.key_lengths == nullptr ? t : min(max(extras.key_lengths[batch], 0), t); }
  // own, other: their segment numbers; keys: those that exist.
  __device__ bool visible(int i, int j, int own, int other, int keys) const {
    return i < s && j < keys && (!causal || j <= i + t - s) && (window == 0 || j > i + t - s - window) && own == other;
  }
  // True where every query of [i, i + rows) sees every key of [j, j + n), segments aside, and scores are plain products.
  __device__ bool all_visible(int i, int rows, int j, int n, int keys) const {
    return i + rows <= s && j + n <= keys && (!causal || j + n - 1 <= i + t - s) && (window == 0 || j > i + rows - 1 + t - s - window) &&
           softcap <= 0 && extras.bias == nullptr && alibi == 0;
  }
  __device__ const int32_t* segment_row(int batch) const {
    return segments == nullptr ? nullptr : segments + static_cast<int64_t>(batch) * t;
  }
  // The slope of a head's linear bias (nemo/cpp/alibi.hpp).
  __device__ float tilt_of(int head) const {
    if (alibi == 0) return 0;
    int n = 1, at = alibi_first + head;
    while (2 * n <= alibi) n *= 2;
    if (at >= n) at = 2 * (at - n), n *= 2;
    return exp2f(-8.0f * static_cast<float>(at + 1) / static_cast<float>(n));
  }
  // What is added to the score of query i and key j; tilt: of the head.
  __device__ float bias_of(int head, float tilt, int i, int j) const {
    const float linear = tilt * static_cast<float>(j - i - (t - s));
    if (extras.bias == nullptr) return linear;
    return linear + extras.bias[(static_cast<int64_t>(head) * s + min(i, s - 1)) * t + min(j, t - 1)];
  }
  // The score of a product q k; slope = d score / d (scale q k).
  __device__ float score(float product, float& slope) const {
    const float x = product * scale;
    if (softcap <= 0) return slope = 1, x;
    const float y = tanhf(x / softcap);
    slope = 1 - y * y;
    return softcap * y;
  }
};

// Smallest and largest segment number of positions [first, first + n), n <= 64, the same in every lane.
struct Range {
  int low, high;
  __device__ Range(const int32_t* row, int first, int n, int limit) : low(INT_MAX), high(INT_MIN) {
    const int lane = threadIdx.x % 32;
    for (int i = first + lane; i < min(first + n, limit); i += 32) low = min(low, row[i]), high = max(high, row[i]);
    low = __reduce_min_sync(~0u, low);
    high = __reduce_max_sync(~0u, high);
  }
  __device__ Range(int low, int high) : low(low), high(high) {}
  __device__ bool apart(const Range& o) const { return high < o.low || o.high < low; }
  __device__ bool one_with(const Range& o) const { return low == o.high && high == o.low && low == high; }
};

__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Copies rows [first, first + rows) of a strided matrix into a shared tile; rows from `limit` on and columns from `cols` on become zero.
// Asynchronous where `vector`: commit_loads, then wait_for_loads and a barrier before use.
template <class T, int D>
__device__ inline void load_rows(T* tile, const T* from, int64_t stride, int first, int rows, int limit, int cols, bool vector) {
  constexpr int kPitch = kRowPitch<T, D>, kStep = 16 / sizeof(T);
  if (vector) {
    for (int i = threadIdx.x; i < rows * (D / kStep); i += blockDim.x) {
      const int r = i / (D / kStep), c = i % (D / kStep) * kStep;
      const bool inside = first + r < limit && c < cols;
      const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(tile + r * kPitch + c));
      const T* at = inside ? from + (first + r) * stride + c : from;
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(at), "r"(inside ? 16 : 0));
    }
  } else {
    for (int i = threadIdx.x; i < rows * D; i += blockDim.x) {
      const int r = i / D, c = i % D;
      tile[r * kPitch + c] = first + r < limit && c < cols ? from[(first + r) * stride + c] : narrow<T>(0);
    }
  }
}
__device__ inline void commit_loads() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `kPending` of the latest groups are in flight.
template <int kPending>
__device__ inline void wait_for_loads() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

template <class H>
__device__ inline uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<H, __half>) {
    const __half2 x = __floats2half2_rn(low, high);
    return reinterpret_cast<const uint32_t&>(x);
  } else {
    const __nv_bfloat162 x = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(x);
  }
}

__device__ inline void load_matrices(uint32_t (&r)[4], const void* at) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ inline void load_matrices_turned(uint32_t (&r)[4], const void* at) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
template <class H>
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<H, __half>)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c[16 x 8N] += A[16 x depth] B[8N x depth]^T, both in shared tiles; depth is rounded up to 16 (the tiles hold zeros there).
template <int D, int N, class H>
__device__ inline IsHalf<H> rows_by_rows(float (&c)[N][4], const H* a, const H* b, int depth) {
  constexpr int kPitch = kRowPitch<H, D>;
  static_assert(N % 2 == 0);
  const int lane = threadIdx.x % 32;
  const H* a_at = a + (lane % 16) * kPitch + lane / 16 * 8;
  const H* b_at = b + (lane % 8 + lane / 16 * 8) * kPitch + lane / 8 % 2 * 8;
  for (int k = 0; k < depth; k += 16) {
    uint32_t x[4], y[4];
    load_matrices(x, a_at + k);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      load_matrices(y, b_at + n * 8 * kPitch + k);
      multiply<H>(c[n], x, y[0], y[1]);
      multiply<H>(c[n + 1], x, y[2], y[3]);
    }
  }
}
template <int D, int N>
__device__ inline void rows_by_rows(float (&c)[N][4], const float* a, const float* b, int depth) {
  constexpr int kPitch = kRowPitch<float, D>;
  const int lane = threadIdx.x % 32;
  const float *a_at = a + lane / 4 * kPitch, *b_at = b + lane % 4 * 2 * kPitch;
  for (int k = 0; k < depth; k += 4) {
    const float4 x0 = *reinterpret_cast<const float4*>(a_at + k), x1 = *reinterpret_cast<const float4*>(a_at + 8 * kPitch + k);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float4 y0 = *reinterpret_cast<const float4*>(b_at + n * 8 * kPitch + k),
                   y1 = *reinterpret_cast<const float4*>(b_at + (n * 8 + 1) * kPitch + k);
      c[n][0] += x0.x * y0.x + x0.y * y0.y + x0.z * y0.z + x0.w * y0.w;
      c[n][1] += x0.x * y1.x + x0.y * y1.y + x0.z * y1.z + x0.w * y1.w;
      c[n][2] += x1.x * y0.x + x1.y * y0.y + x1.z * y0.z + x1.w * y0.w;
      c[n][3] += x1.x * y1.x + x1.y * y1.y + x1.z * y1.z + x1.w * y1.w;
    }
  }
}

// c[16 x 8N] += W[16 x 8K] B[8K x 8N]: W in registers, rounded to the type of B; B in a shared tile.
template <int D, int N, int K, class H>
__device__ inline IsHalf<H> weights_by_rows(float (&c)[N][4], const float (&w)[K][4], const H* b) {
  constexpr int kPitch = kRowPitch<H, D>;
  static_assert(N % 2 == 0 && K % 2 == 0);
  const int lane = threadIdx.x % 32;
  const H* b_at = b + (lane % 16) * kPitch + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < K; k += 2) {
    const uint32_t x[4] = {pack<H>(w[k][0], w[k][1]), pack<H>(w[k][2], w[k][3]), pack<H>(w[k + 1][0], w[k + 1][1]),
                           pack<H>(w[k + 1][2], w[k + 1][3])};
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t y[4];
      load_matrices_turned(y, b_at + k * 8 * kPitch + n * 8);
      multiply<H>(c[n], x, y[0], y[1]);
      multiply<H>(c[n + 1], x, y[2], y[3]);
    }
  }
}
template <int D, int N, int K>
__device__ inline void weights_by_rows(float (&c)[N][4], const float (&w)[K][4], const float* b) {
  constexpr int kPitch = kRowPitch<float, D>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < K; ++k)
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int owner = (lane & ~3) | i / 2;
      const float x0 = __shfl_sync(~0u, w[k][i % 2], owner), x1 = __shfl_sync(~0u, w[k][2 + i % 2], owner);
      const float* row = b + (k * 8 + i) * kPitch + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float2 y = *reinterpret_cast<const float2*>(row + n * 8);
        c[n][0] += x0 * y.x, c[n][1] += x0 * y.y, c[n][2] += x1 * y.x, c[n][3] += x1 * y.y;
      }
    }
}

// Writes a tile of 16 rows, times `factor` per row half, to a strided matrix; rows from `limit` on and columns from `cols` on are left out.
template <class T, int N>
__device__ inline void store_rows(const float (&c)[N][4], const float (&factor)[2], T* to, int64_t stride, int first, int limit,
                                  int first_col, int cols) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + half * 8;
    if (row >= limit) continue;
    T* at = to + row * stride;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const int col = first_col + n * 8 + lane % 4 * 2;
      if (col < cols) at[col] = narrow<T>(c[n][half * 2] * factor[half]);
      if (col + 1 < cols) at[col + 1] = narrow<T>(c[n][half * 2 + 1] * factor[half]);
    }
  }
}

}  // namespace nemo::cuda::attention

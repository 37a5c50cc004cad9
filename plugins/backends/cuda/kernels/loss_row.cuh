// The arithmetic of the losses on one row of logits, by one block. Rows are read in 16-byte vectors where they are aligned, the rest one
// by one.
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

struct LossSpec {
  int64_t v, ignore_index;
  float smoothing, z_loss;
};

inline LossSpec loss_spec(const Node& node) {
  return {node.size('v'), node.integer("ignore_index"), static_cast<float>(node.number("label_smoothing")),
          static_cast<float>(node.number("z_loss"))};
}

constexpr int kLossThreads = 512;
constexpr float kLog2e = 1.44269504088896340736f;

// f(x[N], index of x[0]) with N = kLanes or 1, over the block's share of [0, v).
template <class T, class F>
__device__ __forceinline__ void for_row(const T* row, int64_t v, F f) {
  constexpr int N = kLanes<T>;
  const int vectors = reinterpret_cast<uintptr_t>(row) % 16 == 0 ? static_cast<int>(v / N) : 0, threads = static_cast<int>(blockDim.x);
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += threads) {
    float x[N];
    load<N>(row + static_cast<int64_t>(i) * N, x);
    f(x, static_cast<int64_t>(i) * N);
  }
  for (int64_t i = static_cast<int64_t>(vectors) * N + threadIdx.x; i < v; i += threads) {
    float x[1] = {widen(row[i])};
    f(x, i);
  }
}

// The first `elements` of a row kept in shared memory between two passes; each thread reads back what it wrote itself. Absent: 0 elements.
template <class T>
struct RowCache {
  T* data = nullptr;
  int64_t elements = 0;
};

// f(vectors[kBatch] raw, index of the first, distance) over the 16-byte vectors of an aligned row: all loads of a batch are issued before
// its first use (a batch further ahead was measured to be slower). Vectors beyond the end are told by their index.
constexpr int kBatch = 4;
template <class T, class F>
__device__ __forceinline__ void for_batches(const T* row, int vectors, const RowCache<T>& cache, F f) {
  constexpr int N = kLanes<T>;
  const int threads = static_cast<int>(blockDim.x);
  for (int base = static_cast<int>(threadIdx.x); base < vectors; base += threads * kBatch) {
    Raw<T, N> raw[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int at = base + b * threads;
      if (at >= vectors) continue;
      const bool kept = static_cast<int64_t>(at + 1) * N <= cache.elements;
      raw[b] = load_raw<T, N>(kept ? cache.data : row, static_cast<int64_t>(at) * N);
    }
    f(raw, base, threads);
  }
}

template <class T>
__device__ __forceinline__ int vectors_of(const T* row, int64_t v) {
  return reinterpret_cast<uintptr_t>(row) % 16 == 0 ? static_cast<int>(v / kLanes<T>) : 0;
}

// 2^x in one instruction; what would be subnormal is 0.
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <class T, int N>
__device__ __forceinline__ float largest(const Raw<T, N>& r) {
  if constexpr (std::is_same_v<T, bf16> && N == 8) {
    const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&r);
    const __nv_bfloat162 top = __hmax2(__hmax2(pairs[0], pairs[1]), __hmax2(pairs[2], pairs[3]));
    return fmaxf(__low2float(top), __high2float(top));
  } else {
    float top = widen(r.v[0]);
#pragma unroll
    for (int i = 1; i < N; ++i) top = fmaxf(top, widen(r.v[i]));
    return top;
  }
}

// What one pass over a row gives to every thread. exp(x - max) sums to `sum`.
struct RowTotals {
  float max, sum, plain;  // plain: sum of the logits, where it is wanted
};

// A running maximum with the sum of exp(x - max), and the plain sum.
template <bool kPlain>
struct RowSums {
  float top = -2.0e38f, shift = top * kLog2e, sum = 0, plain = 0;  // finite: a logit of -inf adds 0
  __device__ __forceinline__ void raise(float here) {
    if (here <= top) return;
    const float next = here * kLog2e;
    sum *= power_of_two(shift - next);
    top = here, shift = next;
  }
  __device__ __forceinline__ void add(float x) {
    sum += power_of_two(fmaf(x, kLog2e, -shift));
    if constexpr (kPlain) plain += x;
  }
};

// `scratch` holds 96 floats. Fills the cache.
template <bool kPlain, class T>
__device__ __forceinline__ RowTotals row_totals(const T* row, int64_t v, float* scratch, const RowCache<T>& cache = {}) {
  constexpr int N = kLanes<T>;
  const int vectors = vectors_of(row, v);
  RowSums<kPlain> s;
  for_batches(row, vectors, RowCache<T>{}, [&](const Raw<T, N>(&raw)[kBatch], int base, int threads) {
    float here = -3.0e38f;
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int at = base + b * threads;
      if (at >= vectors) continue;
      if (static_cast<int64_t>(at + 1) * N <= cache.elements)
        *reinterpret_cast<Raw<T, N>*>(cache.data + static_cast<int64_t>(at) * N) = raw[b];
      here = fmaxf(here, largest(raw[b]));
    }
    s.raise(here);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (base + b * threads >= vectors) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) s.add(widen(raw[b].v[i]));
    }
  });
  for (int64_t i = static_cast<int64_t>(vectors) * N + threadIdx.x; i < v; i += blockDim.x) {
    s.raise(widen(row[i]));
    s.add(widen(row[i]));
  }
  float all[1] = {s.top};
  block_reduce<1>(all, scratch, Max{});
  float rest[2] = {s.sum * power_of_two(s.shift - all[0] * kLog2e), s.plain};
  block_reduce<2>(rest, scratch + 32, Sum{});
  return {all[0], rest[0], rest[1]};
}
// With the plain sum where label smoothing wants it.
template <class T>
__device__ __forceinline__ RowTotals row_totals(const LossSpec& p, const T* row, float* scratch, const RowCache<T>& cache = {}) {
  return p.smoothing != 0 ? row_totals<true>(row, p.v, scratch, cache) : row_totals<false>(row, p.v, scratch, cache);
}

__device__ __forceinline__ float lse_of(const RowTotals& t) { return t.max + logf(t.sum); }

// (1 - s) nll + s/v sum(-logp) + z lse^2
__device__ __forceinline__ float loss_of_row(const LossSpec& p, const RowTotals& t, float lse, float at_label) {
  float loss = (1.0f - p.smoothing) * (lse - at_label) + p.z_loss * lse * lse;
  if (p.smoothing != 0) loss += p.smoothing * (lse - t.plain / static_cast<float>(p.v));
  return loss;
}

// dx[i] = dloss (softmax_i (1 + 2 z lse) - (1 - s) [i = label] - s/v); a label outside [0, v) has no such term. dx may be x.
template <class T>
__device__ __forceinline__ void loss_grad_row(const LossSpec& p, const T* row, int64_t label, float lse, float dloss, T* dx,
                                              const RowCache<T>& cache = {}) {
  constexpr int N = kLanes<T>;
  const float a = dloss * (1.0f + 2.0f * p.z_loss * lse), offset = dloss * p.smoothing / static_cast<float>(p.v);
  const float at_label = dloss * (1.0f - p.smoothing), shift = lse * kLog2e;
  const auto slope = [&](float x) { return fmaf(power_of_two(fmaf(x, kLog2e, -shift)), a, -offset); };
  const int vectors = reinterpret_cast<uintptr_t>(dx) % 16 == 0 ? vectors_of(row, p.v) : 0;
  for_batches(row, vectors, cache, [&](const Raw<T, N>(&raw)[kBatch], int base, int threads) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int64_t at = static_cast<int64_t>(base + b * threads) * N;
      if (base + b * threads >= vectors) continue;
      float x[N];
      widen(raw[b], x);
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = slope(x[i]);
      if (label >= at && label < at + N)
#pragma unroll
        for (int i = 0; i < N; ++i)
          if (at + i == label) x[i] -= at_label;
      store<N>(dx + at, x);
    }
  });
  for (int64_t i = static_cast<int64_t>(vectors) * N + threadIdx.x; i < p.v; i += blockDim.x)
    dx[i] = narrow<T>(slope(widen(row[i])) - (i == label ? at_label : 0.0f));
}

template <class T>
__device__ __forceinline__ void clear_row(T* row, int64_t v) {
  constexpr int N = kLanes<T>;
  const int64_t vectors = reinterpret_cast<uintptr_t>(row) % 16 == 0 ? v / N : 0;
  for (int64_t i = threadIdx.x; i < vectors; i += blockDim.x) reinterpret_cast<uint4*>(row)[i] = uint4{};
  for (int64_t i = vectors * N + threadIdx.x; i < v; i += blockDim.x) row[i] = narrow<T>(0.0f);
}

}  // namespace nemo::cuda

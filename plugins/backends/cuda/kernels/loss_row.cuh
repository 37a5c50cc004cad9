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

constexpr int kLossThreads = 1024;
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

// What one pass over a row gives to every thread. exp(x - max) sums to `sum`.
struct RowTotals {
  float max, sum, plain;  // plain: sum of the logits
};

// `scratch` holds 96 floats.
template <class T>
__device__ __forceinline__ RowTotals row_totals(const T* row, int64_t v, float* scratch) {
  float top = -3.0e38f, sum = 0, plain = 0;  // finite: a logit of -inf adds 0
  for_row(row, v, [&](auto& x, int64_t) {
    constexpr int N = sizeof(x) / sizeof(float);
    float here = x[0];
#pragma unroll
    for (int i = 1; i < N; ++i) here = fmaxf(here, x[i]);
    if (here > top) {
      sum *= exp2f((top - here) * kLog2e);
      top = here;
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum += exp2f((x[i] - top) * kLog2e);
      plain += x[i];
    }
  });
  float all[1] = {top};
  block_reduce<1>(all, scratch, Max{});
  float rest[2] = {sum * exp2f((top - all[0]) * kLog2e), plain};
  block_reduce<2>(rest, scratch + 32, Sum{});
  return {all[0], rest[0], rest[1]};
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
__device__ __forceinline__ void loss_grad_row(const LossSpec& p, const T* row, int64_t label, float lse, float dloss, T* dx) {
  const float a = dloss * (1.0f + 2.0f * p.z_loss * lse), b = dloss * p.smoothing / static_cast<float>(p.v);
  const float at_label = dloss * (1.0f - p.smoothing), shift = lse * kLog2e;
  const bool aligned = reinterpret_cast<uintptr_t>(dx) % 16 == 0;
  for_row(row, p.v, [&](auto& x, int64_t at) {
    constexpr int N = sizeof(x) / sizeof(float);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      x[i] = exp2f(x[i] * kLog2e - shift) * a - b;
      if (at + i == label) x[i] -= at_label;
    }
    if (N == 1 || aligned)
      store<N>(dx + at, x);
    else
      for (int i = 0; i < N; ++i) dx[at + i] = narrow<T>(x[i]);
  });
}

template <class T>
__device__ __forceinline__ void clear_row(T* row, int64_t v) {
  constexpr int N = kLanes<T>;
  const int64_t vectors = reinterpret_cast<uintptr_t>(row) % 16 == 0 ? v / N : 0;
  for (int64_t i = threadIdx.x; i < vectors; i += blockDim.x) reinterpret_cast<uint4*>(row)[i] = uint4{};
  for (int64_t i = vectors * N + threadIdx.x; i < v; i += blockDim.x) row[i] = narrow<T>(0.0f);
}

}  // namespace nemo::cuda

// Variant: blocks stay, the next row of each team is on its way into shared memory.
#pragma once

#include "kernels/norm_rows.cuh"

namespace nemo::cuda {

template <int V>
constexpr int kNormWarps = V <= 3 ? 24 : 12;  // of a block

template <class T, int V, bool kLayer, bool kResidual>
__global__ void __launch_bounds__(32 * kNormWarps<V>, 1)
    norm_stream_kernel(const __grid_constant__ NormArgs p, const __grid_constant__ TeamShape shape) {
  constexpr int N = kLanes<T>, kTensors = kResidual ? 2 : 1, kVector = 512;
  extern __shared__ __align__(128) char memory[];
  __shared__ float scratch[2][kNormWarps<V>][2];
  const int warps = shape.warps;
  const TeamLane at(warps);
  const int vectors = static_cast<int>(p.cols / N), first = at.part * 32 + at.lane, step = warps * 32;
  const uint32_t rows_at = shared_address(memory), mine = rows_at + static_cast<uint32_t>(at.warp * 2 * kTensors * V * kVector + at.lane * 16);
  const uint32_t weights = rows_at + static_cast<uint32_t>(warps * shape.teams * 2 * kTensors * V * kVector + at.part * V * kVector + at.lane * 16),
                 biases = weights + static_cast<uint32_t>(warps * V * kVector);
  if (at.team == 0)
    for (int k = 0; k < V; ++k) {
      float w[N], b[N];
#pragma unroll
      for (int e = 0; e < N; ++e) w[e] = 1, b[e] = 0;
      if (first + k * step < vectors) {
        if (p.w != nullptr) load<N>(static_cast<const T*>(p.w) + (first + k * step) * N, w);
        if (p.b != nullptr) load<N>(static_cast<const T*>(p.b) + (first + k * step) * N, b);
      }
      *reinterpret_cast<uint4*>(memory + (weights - rows_at) + k * kVector) = gather<T>(w);
      *reinterpret_cast<uint4*>(memory + (biases - rows_at) + k * kVector) = gather<T>(b);
    }
  const float center = p.w != nullptr ? p.shift : 0.0f;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * shape.teams;
  int64_t row = p.rows - 1 - (static_cast<int64_t>(at.team) * gridDim.x + blockIdx.x);
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  const auto fetch = [&](int64_t r, uint32_t to) {
    if (r >= 0) {
      const char* from[2] = {static_cast<const char*>(p.x) + (r * p.ldx + first * N) * sizeof(T),
                             static_cast<const char*>(p.residual) + (r * p.ldr + first * N) * sizeof(T)};
#pragma unroll
      for (int k = 0; k < V; ++k)
#pragma unroll
        for (int t = 0; t < kTensors; ++t)
          asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(to + (t * V + k) * kVector),
                       "l"(from[t] + k * step * 16), "r"(first + k * step < vectors ? 16 : 0), "l"(policy)
                       : "memory");
    }
    copies_commit();
  };
  fetch(row, mine);
  __syncthreads();
  const float scale = 1.0f / static_cast<float>(p.cols);
  const auto over_warp = [](float v) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
  };
  const auto count_of = [&](int part) {
    int n = 0;
#pragma unroll
    for (int k = 0; k < V; ++k) n += max(0, min(32, vectors - k * step - part * 32));
    return static_cast<float>(n * N);
  };
  const float count = fmaxf(count_of(at.part), 1.0f);
  float top = 0;
  int turn = 0;
  for (; row >= 0; row -= stride, ++turn) {
    const uint32_t here = mine + (turn % 2) * (kTensors * V * kVector);
    fetch(row - stride, mine + ((turn + 1) % 2) * (kTensors * V * kVector));
    copies_wait<1>();
    uint4 raw[V];
    float mean = 0, squares = 0;
    T* sum = static_cast<T*>(p.sum) + row * p.lds + first * N;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      raw[k] = read_shared(here + k * kVector);
      float x[N];
      spread<T>(raw[k], x);
      if constexpr (kResidual) {
        float r[N];
        spread<T>(read_shared(here + (V + k) * kVector), r);
        const bool there = first + k * step < vectors;
        if (p.bias != nullptr && there) {
          float branch[N];
          load<N>(static_cast<const T*>(p.bias) + (first + k * step) * N, branch);
#pragma unroll
          for (int e = 0; e < N; ++e) x[e] += branch[e];
        }
#pragma unroll
        for (int e = 0; e < N; ++e) x[e] += r[e];
        raw[k] = gather<T>(x);
        if (there) __stcs(reinterpret_cast<uint4*>(sum + k * step * N), raw[k]);
        spread<T>(raw[k], x);
      }
#pragma unroll
      for (int e = 0; e < N; ++e) {
        if constexpr (kLayer)
          mean += x[e];
        else
          squares = fmaf(x[e], x[e], squares);
      }
    }
    if constexpr (kLayer) {
      mean = over_warp(mean) / count;
#pragma unroll
      for (int k = 0; k < V; ++k) {
        if (first + k * step >= vectors) continue;
        float x[N];
        spread<T>(raw[k], x);
#pragma unroll
        for (int e = 0; e < N; ++e) squares = fmaf(x[e] - mean, x[e] - mean, squares);
      }
    }
    squares = over_warp(squares);
    if (warps > 1) {
      float(*mine_of)[2] = scratch[turn % 2] + at.team * warps;
      if (at.lane == 0) mine_of[at.part][0] = mean, mine_of[at.part][1] = squares;
      team_join(at, warps);
      mean = squares = 0;
      for (int w = 0; w < warps; ++w) {
        if constexpr (kLayer) mean = fmaf(count_of(w), mine_of[w][0], mean);
        squares += mine_of[w][1];
      }
      if constexpr (kLayer) {
        mean *= scale;
        for (int w = 0; w < warps; ++w) {
          const float delta = mine_of[w][0] - mean;
          squares = fmaf(count_of(w), delta * delta, squares);
        }
      }
    }
    const float rstd = 1.0f / sqrtf(squares * scale + p.eps), shift = -mean * rstd;
    T* y = static_cast<T*>(p.y) + row * p.ldy + first * N;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      float x[N], w[N], b[N];
      spread<T>(read_shared(weights + k * kVector), w);
      if constexpr (kLayer) spread<T>(read_shared(biases + k * kVector), b);
      spread<T>(raw[k], x);
#pragma unroll
      for (int e = 0; e < N; ++e) x[e] = fmaf(x[e], rstd, shift) * (w[e] + center) + (kLayer ? b[e] : 0.0f);
      if (first + k * step >= vectors) continue;
      if (p.top != nullptr)
#pragma unroll
        for (int e = 0; e < N; ++e) top = fmaxf(top, fabsf(x[e]));
      *reinterpret_cast<uint4*>(y + k * step * N) = gather<T>(x);
    }
    if (at.part == 0 && at.lane == 0) {
      p.rstd[row] = rstd;
      if (p.mean != nullptr) p.mean[row] = mean;
    }
  }
  copies_wait<0>();
  if (p.top != nullptr) raise_to(p.top, widen(narrow<T>(top)));
}

template <class T, bool kResidual>
TeamShape stream_teams(int64_t rows, int64_t cols, int multiprocessors) {
  TeamShape s;
  const int64_t vectors = cols / kLanes<T>;
  s.warps = 1;
  if (vectors <= 96) s.vectors = 3;
  while (s.vectors == 0 && s.warps <= 4) {
    if (vectors <= 224 * s.warps) s.vectors = 7;
    else if (vectors <= 256 * s.warps) s.vectors = 8;
    else s.warps *= 2;
  }
  if (s.vectors == 0) return {};
  s.teams = (s.vectors == 3 ? kNormWarps<3> : kNormWarps<8>) / s.warps;
  s.shared_bytes = 512 * static_cast<size_t>(s.vectors) * static_cast<size_t>(s.teams * s.warps * 2 * (kResidual ? 2 : 1) + 2 * s.warps);
  s.grid = static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, s.teams), 1, multiprocessors));
  return s;
}

template <class T, bool kLayer, bool kResidual>
void launch_stream(const NormArgs& p, const TeamShape& s, cudaStream_t stream) {
  const auto run = [&](auto v) {
    constexpr int V = decltype(v)::value;
    check(cudaFuncSetAttribute(norm_stream_kernel<T, V, kLayer, kResidual>, cudaFuncAttributeMaxDynamicSharedMemorySize, 225 << 10), "shared");
    norm_stream_kernel<T, V, kLayer, kResidual><<<s.grid, static_cast<unsigned>(s.threads()), s.shared_bytes, stream>>>(p, s);
  };
  if (s.vectors == 3) return run(std::integral_constant<int, 3>{});
  if (s.vectors == 7) return run(std::integral_constant<int, 7>{});
  run(std::integral_constant<int, 8>{});
}

}  // namespace nemo::cuda

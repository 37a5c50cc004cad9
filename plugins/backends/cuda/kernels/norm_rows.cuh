// The streaming form of the norms: a team of warps per row, as many blocks as rows need, every row read once into registers.
#pragma once

#include "kernels/norm.cuh"
#include "kernels/row_teams.cuh"

namespace nemo::cuda {

// Read or written once: the first to leave the L2 cache, so that results stay there.
__device__ __forceinline__ uint4 read_once(const void* p) { return __ldcs(static_cast<const uint4*>(p)); }

// Threads of a block with teams of few warps, as measured on an H100: layer norm with bias of 16384 x 1600 77.7 us by one warp and 7
// vectors a row, 76.5 us by 4 and 2 in blocks of 3 rows; of 65536 x 768 143.7 us in blocks of 4 rows, 140.9 us in blocks of 8.
constexpr int norm_threads(int vectors) { return vectors == 2 ? 384 : vectors == 3 ? 256 : 128; }
constexpr int norm_registers(int vectors) { return vectors == 2 ? 40 : vectors == 7 ? 96 : 64; }

template <class T, int V, bool kLayer, bool kResidual>
__global__ void __maxnreg__(norm_registers(V)) norm_rows_kernel(const __grid_constant__ NormArgs p, int warps) {
  constexpr int N = kLanes<T>;
  __shared__ float scratch[16][2];
  const TeamLane at(warps);
  const int64_t row = p.rows - 1 - (static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32 / warps) + at.team);
  if (row < 0) return;
  const int vectors = static_cast<int>(p.cols / N), first = at.part * 32 + at.lane, step = warps * 32;
  const auto there = [&](int k) { return first + k * step < vectors; };
  uint4 raw[V], residual[kResidual ? V : 1];
  {
    const T* x = static_cast<const T*>(p.x) + row * p.ldx + first * N;
    const T* r = static_cast<const T*>(p.residual) + row * p.ldr + first * N;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      raw[k] = make_uint4(0, 0, 0, 0);
      if (!there(k)) continue;
      raw[k] = read_once(x + k * step * N);
      if constexpr (kResidual) residual[k] = read_once(r + k * step * N);
    }
  }
  float mean = 0, squares = 0, count = 0;
  T* sum = static_cast<T*>(p.sum) + row * p.lds + first * N;
#pragma unroll
  for (int k = 0; k < V; ++k) {
    if (!there(k)) continue;
    float x[N];
    spread<T>(raw[k], x);
    if constexpr (kResidual) {
      float r[N];
      spread<T>(residual[k], r);
      if (p.bias != nullptr) {
        float branch[N];
        load<N>(static_cast<const T*>(p.bias) + (first + k * step) * N, branch);
#pragma unroll
        for (int e = 0; e < N; ++e) x[e] += branch[e];
      }
#pragma unroll
      for (int e = 0; e < N; ++e) x[e] += r[e];
      raw[k] = gather<T>(x);
      __stcs(reinterpret_cast<uint4*>(sum + k * step * N), raw[k]);
      spread<T>(raw[k], x);  // as rounded
    }
#pragma unroll
    for (int e = 0; e < N; ++e) {
      if constexpr (kLayer)
        mean += x[e];
      else
        squares = fmaf(x[e], x[e], squares);
    }
  }
  const auto over_warp = [](float v) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
  };
  const auto count_of = [&](int part) {  // elements of a warp of the team
    int n = 0;
#pragma unroll
    for (int k = 0; k < V; ++k) n += max(0, min(32, vectors - k * step - part * 32));
    return static_cast<float>(n * N);
  };
  if constexpr (kLayer) {
    count = count_of(at.part);
    mean = over_warp(mean) / fmaxf(count, 1.0f);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      if (!there(k)) continue;
      float x[N];
      spread<T>(raw[k], x);
#pragma unroll
      for (int e = 0; e < N; ++e) squares = fmaf(x[e] - mean, x[e] - mean, squares);
    }
  }
  squares = over_warp(squares);
  const float scale = 1.0f / static_cast<float>(p.cols);
  if (warps > 1) {  // moments of the warps are combined (Chan et al. 1983)
    if (at.lane == 0) scratch[at.warp][0] = mean, scratch[at.warp][1] = squares;
    team_join(at, warps);
    mean = squares = 0;
    for (int w = 0; w < warps; ++w) {
      if constexpr (kLayer) mean = fmaf(count_of(w), scratch[at.team * warps + w][0], mean);
      squares += scratch[at.team * warps + w][1];
    }
    if constexpr (kLayer) {
      mean *= scale;
      for (int w = 0; w < warps; ++w) {
        const float delta = scratch[at.team * warps + w][0] - mean;
        squares = fmaf(count_of(w), delta * delta, squares);
      }
    }
  }
  const float rstd = 1.0f / sqrtf(squares * scale + p.eps), shift = -mean * rstd;
  float top = 0;
  T* y = static_cast<T*>(p.y) + row * p.ldy + first * N;
#pragma unroll
  for (int k = 0; k < V; ++k) {
    if (!there(k)) continue;
    float x[N], w[N], b[N];
#pragma unroll
    for (int e = 0; e < N; ++e) w[e] = 1, b[e] = 0;
    if (p.w != nullptr) load<N>(static_cast<const T*>(p.w) + (first + k * step) * N, w);
    if constexpr (kLayer)
      if (p.b != nullptr) load<N>(static_cast<const T*>(p.b) + (first + k * step) * N, b);
    spread<T>(raw[k], x);
#pragma unroll
    for (int e = 0; e < N; ++e) x[e] = fmaf(fmaf(x[e], rstd, shift), w[e] + (p.w != nullptr ? p.shift : 0.0f), b[e]);
    if (p.top != nullptr)
#pragma unroll
      for (int e = 0; e < N; ++e) top = fmaxf(top, fabsf(x[e]));
    *reinterpret_cast<uint4*>(y + k * step * N) = gather<T>(x);
  }
  if (at.part == 0 && at.lane == 0) {
    p.rstd[row] = rstd;
    if (p.mean != nullptr) p.mean[row] = mean;
  }
  if (p.top != nullptr) raise_to(p.top, widen(narrow<T>(top)));
}

// warps = 0 where rows of `cols` elements are too long.
template <class T>
TeamShape norm_teams(int64_t rows, int64_t cols) {
  struct Form {
    int warps, vectors;
  };
  TeamShape s;
  const int64_t vectors = cols / kLanes<T>;
  for (const Form f : {Form{1, 3}, {1, 4}, {4, 2}, {2, 7}, {8, 2}, {4, 7}, {8, 4}, {8, 7}, {16, 4}}) {
    if (vectors > 32 * f.warps * f.vectors) continue;
    s.warps = f.warps, s.vectors = f.vectors;
    break;
  }
  if (s.warps == 0) return s;
  s.teams = std::max(1, norm_threads(s.vectors) / 32 / s.warps);
  s.grid = grid_of(rows, s.teams);
  return s;
}

template <class T, bool kLayer, bool kResidual>
void launch_rows(const NormArgs& p, const TeamShape& s, cudaStream_t stream) {
  const auto run = [&](auto v) {
    norm_rows_kernel<T, decltype(v)::value, kLayer, kResidual><<<s.grid, static_cast<unsigned>(s.threads()), 0, stream>>>(p, s.warps);
  };
  if (s.vectors == 2) return run(std::integral_constant<int, 2>{});
  if (s.vectors == 3) return run(std::integral_constant<int, 3>{});
  if (s.vectors == 4) return run(std::integral_constant<int, 4>{});
  run(std::integral_constant<int, 7>{});
}

}  // namespace nemo::cuda

// The streaming form of the norm gradients: blocks stay, a team of warps works on a row, the next rows are on their way into shared memory.
// A lane copies and reads its own vectors only, by cp.async, which is ordered with the lane's own reads: no other lane can be early or
// late. All teams of a block go in step, one barrier a row, which costs nothing while rows ahead are under way.
#pragma once

#include "kernels/norm.cuh"
#include "kernels/norm_grad.cuh"
#include "kernels/row_teams.cuh"

namespace nemo::cuda {

// Vectors of a row that a lane has: their column sums stay in its registers. Warps of a block, and rows of a team in shared memory.
constexpr int kGradVectors = 2, kGradWarps = 16, kGradStages = 2;
// Warps at work where teams are small: fewer than a block may have leave room for the second stage's blocks (rms norm of 32768 x 2048 on an
// H100: 182.4 us with 16, 178.4 us with 12), but three column sums want them all (16384 x 1600: 77.3 us, 77.8 us).
constexpr int grad_warps(bool three_sums) { return three_sums ? 16 : 12; }

// Where warps leave their column sums: [warp][vector][half][lane], four columns each.
template <int V, int N>
__device__ constexpr int sum_slots(int warps) {
  return warps * V * (N / 4) * 32;
}
template <int V, int N>
__device__ __forceinline__ void leave_sums(const float (&mine)[V][N], float4* sums, const TeamLane& at) {
  sums += sum_slots<V, N>(at.warp) + at.lane;
#pragma unroll
  for (int k = 0; k < V; ++k)
#pragma unroll
    for (int h = 0; h < N / 4; ++h)
      sums[(k * (N / 4) + h) * 32] = make_float4(mine[k][4 * h], mine[k][4 * h + 1], mine[k][4 * h + 2], mine[k][4 * h + 3]);
}
// The block's partial of one sum: the teams' in their order. out: nullptr where it is not wanted.
template <int V, int N>
__device__ __forceinline__ void add_teams(const float4* sums, const TeamShape& shape, const GradArgs& p, float* out) {
  if (out == nullptr) return;
  const int of_team = sum_slots<V, N>(shape.warps);
  for (int i = static_cast<int>(threadIdx.x); i < of_team; i += static_cast<int>(blockDim.x)) {
    const int part = i / sum_slots<V, N>(1), rest = i / 32 % (V * (N / 4)), h = rest % (N / 4), k = rest / (N / 4);
    const int64_t column = static_cast<int64_t>((k * shape.warps + part) * 32 + i % 32) * N + 4 * h;
    if (column >= p.cols) continue;
    float4 total = make_float4(0, 0, 0, 0);
    for (int t = 0; t < shape.teams; ++t) {
      const float4 v = sums[t * of_team + i];
      total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
    }
    *reinterpret_cast<float4*>(out + blockIdx.x * p.pitch + column) = total;
  }
}

// Weights as f32: 1 where there are none.
template <class T>
__device__ __forceinline__ void weights_of(const uint4& raw, float shift, float (&w)[kLanes<T>]) {
  spread<T>(raw, w);
#pragma unroll
  for (int e = 0; e < kLanes<T>; ++e) w[e] += shift;
}

// Both sums, or the second alone.
template <bool kBoth>
__device__ __forceinline__ void sum_over_warp(float (&sums)[2]) {
#pragma unroll
  for (int o = 16; o > 0; o /= 2) {
    if constexpr (kBoth) sums[0] += __shfl_xor_sync(0xffffffffu, sums[0], o);
    sums[1] += __shfl_xor_sync(0xffffffffu, sums[1], o);
  }
}

template <class T, bool kLayer, bool kResidual, bool kSum>
__global__ void __launch_bounds__(32 * kGradWarps, 1)
    norm_grad_rows_kernel(const __grid_constant__ GradArgs p, const __grid_constant__ TeamShape shape) {
  constexpr int N = kLanes<T>, V = kGradVectors, kTensors = kResidual ? 3 : 2;
  constexpr uint32_t kStageBytes = kTensors * V * kWarpVector;
  extern __shared__ __align__(128) char memory[];
  __shared__ float2 scratch[2][32];           // halves alternate: a barrier lies between two uses of the same one
  cudaTriggerProgrammaticLaunchCompletion();  // finish_column_sums waits for the end all the same
  const int warps = shape.warps;
  const TeamLane at(warps);
  const int vectors = static_cast<int>(p.cols / N), first = at.part * 32 + at.lane, step = warps * 32;
  const uint32_t mine =
      shared_address(memory) + static_cast<uint32_t>(at.warp) * kGradStages * kStageBytes + static_cast<uint32_t>(at.lane * 16);
  const auto there = [&](int k) { return first + k * step < vectors; };
  uint4 weights[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    weights[k] = make_uint4(0, 0, 0, 0);
    if (there(k) && p.w != nullptr) weights[k] = *reinterpret_cast<const uint4*>(static_cast<const T*>(p.w) + (first + k * step) * N);
  }
  const float weight_shift = p.w != nullptr ? p.shift : 1.0f;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * shape.teams;
  // Team 0 has most rows; the others may find none in the last turn, with row < 0, and then work on zeros.
  const int turns = static_cast<int>((p.rows - 1 - static_cast<int64_t>(blockIdx.x)) / stride) + 1;
  int64_t row = p.rows - 1 - (static_cast<int64_t>(at.team) * gridDim.x + blockIdx.x);
  const auto fetch = [&](int64_t r, uint32_t to) {
    const bool inside = r >= 0;
    const int64_t from_row = inside ? r : 0;
    const char* from[3] = {static_cast<const char*>(p.x) + (from_row * p.ldx + first * N) * sizeof(T),
                           static_cast<const char*>(p.dy) + (from_row * p.ldy + first * N) * sizeof(T),
                           static_cast<const char*>(p.residual) + (from_row * p.ldr + first * N) * sizeof(T)};
#pragma unroll
    for (int k = 0; k < V; ++k)
#pragma unroll
      for (int t = 0; t < kTensors; ++t) copy_async(to + (t * V + k) * kWarpVector, from[t] + k * step * 16, inside && there(k));
    copies_commit();
  };
  float next_mean = 0, next_rstd = 0, top = 0;
  const auto fetch_moments = [&](int64_t r) {
    next_rstd = r < 0 ? 0.0f : p.rstd[r];
    if constexpr (kLayer) next_mean = r < 0 ? 0.0f : p.mean[r];
  };
#pragma unroll
  for (int s = 0; s < kGradStages - 1; ++s) fetch(row - s * stride, mine + s * kStageBytes);
  fetch_moments(row);
  const float scale = 1.0f / static_cast<float>(p.cols);
  float dw[V][N] = {}, db[kLayer ? V : 1][N] = {}, dbias[kSum ? V : 1][N] = {};
  for (int turn = 0, stage = 0; turn < turns; ++turn, row -= stride) {
    const float rstd = next_rstd, shift = -next_mean * rstd;  // xhat = x rstd + shift
    const uint32_t here = mine + stage * kStageBytes;
    fetch(row - (kGradStages - 1) * stride,
          mine + (stage == 0 ? kGradStages - 1 : stage - 1) * kStageBytes);  // the lane itself has read what lay there
    fetch_moments(row - stride);
    stage = stage == kGradStages - 1 ? 0 : stage + 1;
    copies_wait<kGradStages - 1>();
    float sums[2] = {0, 0};
    uint4 raw_x[V], raw_dy[V];
#pragma unroll
    for (int k = 0; k < V; ++k) {
      raw_x[k] = read_shared(here + k * kWarpVector), raw_dy[k] = read_shared(here + (V + k) * kWarpVector);
      float x[N], dy[N], w[N];
      spread<T>(raw_x[k], x);
      spread<T>(raw_dy[k], dy);
      weights_of<T>(weights[k], weight_shift, w);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        const float xhat = fmaf(x[e], rstd, shift), g = dy[e] * w[e];
        dw[k][e] = fmaf(dy[e], xhat, dw[k][e]);
        if constexpr (kLayer) db[k][e] += dy[e], sums[0] += g;
        sums[1] = fmaf(g, xhat, sums[1]);
      }
    }
    sum_over_warp<kLayer>(sums);
    if (warps > 1) {
      if (at.lane == 0) scratch[turn % 2][at.warp] = make_float2(sums[0], sums[1]);
      __syncthreads();
      sums[0] = sums[1] = 0;
      for (int w = 0; w < warps; ++w) {
        const float2 part = scratch[turn % 2][at.team * warps + w];
        if constexpr (kLayer) sums[0] += part.x;
        sums[1] += part.y;
      }
    }
    // dx = rstd (g - a - xhat b) = rstd g + x c1 + c0
    const float a = sums[0] * scale * rstd, b = sums[1] * scale * rstd, c1 = -rstd * b, c0 = -a - shift * b;
    char* to = static_cast<char*>(p.dx) + (row * p.ldo + first * N) * sizeof(T);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      if (!there(k) || row < 0) continue;
      float x[N], dy[N], w[N], r[N];
      spread<T>(raw_x[k], x);
      spread<T>(raw_dy[k], dy);
      if constexpr (kResidual) spread<T>(read_shared(here + (2 * V + k) * kWarpVector), r);
      weights_of<T>(weights[k], weight_shift, w);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        x[e] = fmaf(dy[e] * w[e], rstd, fmaf(x[e], c1, c0));
        if constexpr (kResidual) x[e] += r[e];
        if constexpr (kSum) dbias[k][e] += x[e];
      }
      if (p.top != nullptr)
#pragma unroll
        for (int e = 0; e < N; ++e) top = fmaxf(top, fabsf(x[e]));
      *reinterpret_cast<uint4*>(to + k * step * 16) = gather<T>(x);
    }
  }
  if (p.top != nullptr) raise_to(p.top, widen(narrow<T>(top)));
  // The teams' sums are added in their order, in the memory of the rows, which no copy fills any more.
  copies_wait<0>();
  __syncthreads();
  float4* sums = reinterpret_cast<float4*>(memory);
  const int all = sum_slots<V, N>(warps * shape.teams);
  leave_sums(dw, sums, at);
  if constexpr (kLayer) leave_sums(db, sums + all, at);
  if constexpr (kSum) leave_sums(dbias, sums + 2 * all, at);
  __syncthreads();
  add_teams<V, N>(sums, shape, p, p.dw);
  if constexpr (kLayer) add_teams<V, N>(sums + all, shape, p, p.db);
  if constexpr (kSum) add_teams<V, N>(sums + 2 * all, shape, p, p.dbias);
}

// Bytes of shared memory of `warps` warps: rows, in whose place three column sums of f32 fit at the end.
template <class T>
constexpr size_t grad_shared(int tensors, int warps) {
  const size_t rows = static_cast<size_t>(kGradStages * tensors) * kWarpVector, sums = 3 * kLanes<T> * sizeof(float) * 32;
  return static_cast<size_t>(warps * kGradVectors) * std::max(rows, sums);
}

// The shape for rows of `cols` elements; warps = 0 where they are too long.
template <class T, bool kLayer, bool kResidual, bool kSum>
TeamShape prepare_rows(int64_t rows, int64_t cols, int multiprocessors) {
  constexpr int kTensors = kResidual ? 3 : 2;
  TeamShape s;
  const int64_t warps = ceil_div(cols / kLanes<T>, 32 * kGradVectors);
  if (warps > kGradWarps) return s;
  s.warps = static_cast<int>(warps), s.vectors = kGradVectors;
  s.teams = std::max(1, grad_warps(kSum) / s.warps);
  s.shared_bytes = grad_shared<T>(kTensors, s.warps * s.teams);
  s.grid = static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, s.teams), 1, multiprocessors));
  check(cudaFuncSetAttribute(norm_grad_rows_kernel<T, kLayer, kResidual, kSum>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(grad_shared<T>(kTensors, kGradWarps))),
        "shared memory of a kernel");
  return s;
}

template <class T, bool kLayer, bool kResidual, bool kSum>
void launch_rows(const GradArgs& p, const TeamShape& s, cudaStream_t stream) {
  norm_grad_rows_kernel<T, kLayer, kResidual, kSum><<<s.grid, static_cast<unsigned>(s.threads()), s.shared_bytes, stream>>>(p, s);
}

}  // namespace nemo::cuda

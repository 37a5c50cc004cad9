// The streaming form of the norm gradients: blocks stay, a team of warps works on a row, the next row is on its way into shared memory. A
// lane copies and reads its own vectors only, by cp.async, which is ordered with the lane's own reads: no other lane can be early or late.
#pragma once

#include "kernels/norm.cuh"
#include "kernels/norm_grad.cuh"
#include "kernels/row_teams.cuh"

namespace nemo::cuda {

constexpr int kGradStages = 2;
// The column sums of a lane stay in registers: V vectors of each.
template <int V>
constexpr int kGradWarps = V <= 3 ? 16 : 8;  // of a block

// A lane's weights as f32, [vector][half], a warp's vectors apart: 1 where there are none.
template <class T, int V>
__device__ __forceinline__ void keep_weights(const GradArgs& p, char* to, int first, int step) {
  constexpr int N = kLanes<T>;
  for (int k = 0; k < V; ++k) {
    const int at = first + k * step;
    float w[N];
#pragma unroll
    for (int e = 0; e < N; ++e) w[e] = 1;
    if (at < p.cols / N && p.w != nullptr) {
      load<N>(static_cast<const T*>(p.w) + at * N, w);
#pragma unroll
      for (int e = 0; e < N; ++e) w[e] += p.shift;
    }
    for (int h = 0; h < N / 4; ++h)
      *reinterpret_cast<float4*>(to + (k * (N / 4) + h) * kWarpVector) = make_float4(w[4 * h], w[4 * h + 1], w[4 * h + 2], w[4 * h + 3]);
  }
}
template <int N>
__device__ __forceinline__ void read_floats(uint32_t at, float (&w)[N]) {
#pragma unroll
  for (int h = 0; h < N / 4; ++h) {
    const uint4 v = read_shared(at + h * kWarpVector);
    w[4 * h] = __uint_as_float(v.x), w[4 * h + 1] = __uint_as_float(v.y);
    w[4 * h + 2] = __uint_as_float(v.z), w[4 * h + 3] = __uint_as_float(v.w);
  }
}

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

template <class T, int V, bool kLayer, bool kResidual, bool kSum>
__global__ void __launch_bounds__(32 * kGradWarps<V>, 1)
    norm_grad_rows_kernel(const __grid_constant__ GradArgs p, const __grid_constant__ TeamShape shape) {
  constexpr int N = kLanes<T>, kTensors = kResidual ? 3 : 2;
  extern __shared__ __align__(128) char memory[];
  __shared__ float scratch[2][kGradWarps<V>][2];
  cudaTriggerProgrammaticLaunchCompletion();  // finish_column_sums waits for the end all the same
  const int warps = shape.warps;
  const TeamLane at(warps);
  const int vectors = static_cast<int>(p.cols / N), first = at.part * 32 + at.lane, step = warps * 32;
  const uint32_t rows_at = shared_address(memory),
                 mine = rows_at + static_cast<uint32_t>(at.warp * kGradStages * kTensors * V * kWarpVector + at.lane * 16);
  // Weights as f32: [part][vector][half][lane].
  constexpr int kHalves = N / 4;
  const uint32_t weights_at = rows_at + static_cast<uint32_t>(warps * shape.teams * kGradStages * kTensors * V * kWarpVector),
                 weights = weights_at + static_cast<uint32_t>(at.part * V * kHalves * kWarpVector + at.lane * 16);
  if (at.team == 0) keep_weights<T, V>(p, memory + (weights - rows_at), first, step);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * shape.teams;
  int64_t row = p.rows - 1 - (static_cast<int64_t>(at.team) * gridDim.x + blockIdx.x);
  const auto fetch = [&](int64_t r, uint32_t to) {
    if (r >= 0) {
      const char* from[3] = {static_cast<const char*>(p.x) + (r * p.ldx + first * N) * sizeof(T),
                             static_cast<const char*>(p.dy) + (r * p.ldy + first * N) * sizeof(T),
                             static_cast<const char*>(p.residual) + (r * p.ldr + first * N) * sizeof(T)};
#pragma unroll
      for (int k = 0; k < V; ++k)
#pragma unroll
        for (int t = 0; t < kTensors; ++t) copy_async(to + (t * V + k) * kWarpVector, from[t] + k * step * 16, first + k * step < vectors);
    }
    copies_commit();
  };
  float next_mean = 0, next_rstd = 0, top = 0;
  const auto fetch_moments = [&](int64_t r) {
    if (r < 0) return;
    next_rstd = p.rstd[r];
    if constexpr (kLayer) next_mean = p.mean[r];
  };
  fetch(row, mine);
  fetch_moments(row);
  __syncthreads();
  constexpr uint32_t kStageBytes = kTensors * V * kWarpVector;
  const float scale = 1.0f / static_cast<float>(p.cols);
  float dw[V][N] = {}, db[kLayer ? V : 1][N] = {}, dbias[kSum ? V : 1][N] = {};
  int turn = 0;
  for (; row >= 0; row -= stride, ++turn) {
    const float rstd = next_rstd, shift = -next_mean * rstd;  // xhat = x rstd + shift
    const uint32_t here = mine + (turn % 2) * kStageBytes;
    fetch(row - stride, mine + ((turn + 1) % 2) * kStageBytes);  // the lane itself has read what lay there
    fetch_moments(row - stride);
    copies_wait<1>();
    float sums[2] = {0, 0};
#pragma unroll
    for (int k = 0; k < V; ++k) {
      float x[N], dy[N], w[N];
      spread<T>(read_shared(here + k * kWarpVector), x);
      spread<T>(read_shared(here + (V + k) * kWarpVector), dy);
      read_floats<N>(weights + k * kHalves * kWarpVector, w);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        const float xhat = fmaf(x[e], rstd, shift), g = dy[e] * w[e];
        dw[k][e] = fmaf(dy[e], xhat, dw[k][e]);
        if constexpr (kLayer) db[k][e] += dy[e], sums[0] += g;
        sums[1] = fmaf(g, xhat, sums[1]);
      }
    }
#pragma unroll
    for (int o = 16; o > 0; o /= 2) {
      if constexpr (kLayer) sums[0] += __shfl_xor_sync(0xffffffffu, sums[0], o);
      sums[1] += __shfl_xor_sync(0xffffffffu, sums[1], o);
    }
    if (warps > 1) {
      if (at.lane == 0) scratch[turn % 2][at.warp][0] = sums[0], scratch[turn % 2][at.warp][1] = sums[1];
      team_join(at, warps);
      sums[0] = sums[1] = 0;
      for (int w = 0; w < warps; ++w) {
        if constexpr (kLayer) sums[0] += scratch[turn % 2][at.team * warps + w][0];
        sums[1] += scratch[turn % 2][at.team * warps + w][1];
      }
    }
    // dx = rstd (g - a - xhat b) = rstd g + x c1 + c0
    const float a = sums[0] * scale * rstd, b = sums[1] * scale * rstd, c1 = -rstd * b, c0 = -a - shift * b;
    char* to = static_cast<char*>(p.dx) + (row * p.ldo + first * N) * sizeof(T);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      float x[N], dy[N], w[N], r[N];
      spread<T>(read_shared(here + k * kWarpVector), x);
      spread<T>(read_shared(here + (V + k) * kWarpVector), dy);
      if constexpr (kResidual) spread<T>(read_shared(here + (2 * V + k) * kWarpVector), r);
      read_floats<N>(weights + k * kHalves * kWarpVector, w);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        x[e] = fmaf(dy[e] * w[e], rstd, fmaf(x[e], c1, c0));
        if constexpr (kResidual) x[e] += r[e];
        if constexpr (kSum) dbias[k][e] += x[e];
      }
      if (first + k * step < vectors) {
        if (p.top != nullptr)
#pragma unroll
          for (int e = 0; e < N; ++e) top = fmaxf(top, fabsf(x[e]));
        *reinterpret_cast<uint4*>(to + k * step * 16) = gather<T>(x);
      }
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

// Bytes of shared memory of a block: the rows, then the weights of a team of `warps`.
template <class T>
constexpr size_t grad_shared(int v, int tensors, int warps) {
  return kWarpVector * static_cast<size_t>(v) *
         static_cast<size_t>((v <= 3 ? kGradWarps<3> : kGradWarps<8>)*kGradStages * tensors + warps * (kLanes<T> / 4));
}
constexpr int kMostWarps = 4;  // of a team

// The shape for rows of `cols` elements; warps = 0 where they are too long.
template <class T, bool kResidual>
TeamShape grad_teams(int64_t rows, int64_t cols, int multiprocessors) {
  TeamShape s;
  const int64_t vectors = cols / kLanes<T>;
  s.warps = 1;
  if (vectors <= 96) s.vectors = 3;
  while (s.vectors == 0 && s.warps <= kMostWarps) {
    if (vectors <= 224 * s.warps)
      s.vectors = 7;
    else if (vectors <= 256 * s.warps)
      s.vectors = 8;
    else
      s.warps *= 2;
  }
  if (s.vectors == 0) return {};
  s.teams = (s.vectors <= 3 ? kGradWarps<3> : kGradWarps<8>) / s.warps;
  s.shared_bytes = grad_shared<T>(s.vectors, kResidual ? 3 : 2, s.warps);
  s.grid = static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, s.teams), 1, multiprocessors));
  return s;
}

template <class F>
void with_vectors(int v, F&& f) {
  if (v == 3) return f(std::integral_constant<int, 3>{});
  if (v == 7) return f(std::integral_constant<int, 7>{});
  f(std::integral_constant<int, 8>{});
}

template <class T, bool kLayer, bool kResidual, bool kSum>
TeamShape prepare_rows(int64_t rows, int64_t cols, int multiprocessors) {
  const TeamShape s = grad_teams<T, kResidual>(rows, cols, multiprocessors);
  if (s.warps > 0)
    with_vectors(s.vectors, [&](auto v) {
      check(cudaFuncSetAttribute(norm_grad_rows_kernel<T, decltype(v)::value, kLayer, kResidual, kSum>,
                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(grad_shared<T>(s.vectors, kResidual ? 3 : 2, kMostWarps))),
            "shared memory of a kernel");
    });
  return s;
}

template <class T, bool kLayer, bool kResidual, bool kSum>
void launch_rows(const GradArgs& p, const TeamShape& s, cudaStream_t stream) {
  with_vectors(s.vectors, [&](auto v) {
    norm_grad_rows_kernel<T, decltype(v)::value, kLayer, kResidual, kSum>
        <<<s.grid, static_cast<unsigned>(s.threads()), s.shared_bytes, stream>>>(p, s);
  });
}

}  // namespace nemo::cuda

// Pieces of the chunked scan of Mamba-2 (Dao & Gu 2024): blocks of 256 threads, products of 64 x 64 tiles in shared memory by FMA in f32,
// and the decays of a chunk.
//
// In a chunk of 64 tokens, with lam[t] the sum of dt A up to and with token t, u = dt x and S the state in front of the chunk:
//   y[t] = sum_{r <= t} e^(lam[t] - lam[r]) (c[t] b[r]) u[r] + e^lam[t] S c[t] + skip x[t]
//   state behind = e^lam[63] S + sum_r e^(lam[63] - lam[r]) u[r] b[r]^T
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda::ssd {

constexpr int kChunk = 64, kThreads = 256, kPitch = kChunk + 4, kTileFloats = kChunk * kPitch;

// Element offsets of a [b s h ..] tensor whose dimensions behind h are contiguous.
struct Steps {
  int64_t batch = 0, position = 0, head = 0;
  Steps() = default;
  explicit Steps(const Tensor& t) : batch(t.strides[0]), position(t.strides[1]), head(t.strides[2]) {}
  __device__ int64_t at(int64_t b, int64_t s, int64_t h) const { return b * batch + s * position + h * head; }
};

struct Shape {
  int64_t b, s, h, g, p, n, chunks;
  float dt_min, dt_max;

  __device__ int64_t state() const { return p * n; }
};

// What the recurrence reads.
struct Inputs {
  const void *x, *dt, *bm, *c;
  const float *a_log, *skip, *dt_bias, *initial;  // the last three nullptr where absent
  Steps x_at, dt_at, bm_at, c_at;
};

// Steps of one chunk and head in shared memory; tokens behind the sequence have dt = 0.
struct Decays {
  float dt[kChunk], slope[kChunk], lam[kChunk];  // slope = d dt / d raw dt

  // Ends with a barrier.
  template <class T>
  __device__ void fill(const Shape& s, const Inputs& in, int64_t b, int64_t h, int64_t t0) {
    const float a = -expf(in.a_log[h]);
    __syncthreads();
    if (threadIdx.x < kChunk) {
      const int64_t t = t0 + threadIdx.x;
      float step = 0, through = 0;
      if (t < s.s) {
        const float raw = widen(static_cast<const T*>(in.dt)[in.dt_at.at(b, t, h)]) + (in.dt_bias != nullptr ? in.dt_bias[h] : 0.0f);
        step = fmaxf(raw, 0.0f) + log1pf(expf(-fabsf(raw)));
        through = 1.0f / (1.0f + expf(-raw));
        if (step < s.dt_min)
          step = s.dt_min, through = 0;
        else if (s.dt_max > 0 && step > s.dt_max)
          step = s.dt_max, through = 0;
      }
      dt[threadIdx.x] = step, slope[threadIdx.x] = through;
    }
    __syncthreads();
    if (threadIdx.x < 32) {  // running sums, two tokens per lane
      const int lane = static_cast<int>(threadIdx.x);
      const float first = dt[2 * lane] * a, second = dt[2 * lane + 1] * a;
      float sum = first + second;
      for (int step = 1; step < 32; step *= 2) {
        const float other = __shfl_up_sync(0xffffffffu, sum, step);
        if (lane >= step) sum += other;
      }
      lam[2 * lane + 1] = sum, lam[2 * lane] = sum - second;
    }
    __syncthreads();
  }
  __device__ float total() const { return lam[kChunk - 1]; }
  __device__ float to_end(int t) const { return expf(total() - lam[t]); }
};

// Tile [r][c] = factor(r) source[r * stride + c] for r < rows, c < cols; else 0.
template <class T, class F>
__device__ __forceinline__ void load_tile(float* tile, const T* source, int64_t stride, int64_t rows, int64_t cols, const F& factor) {
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kChunk * kChunk; i += kThreads) {
    const int r = i / kChunk, c = i % kChunk;
    tile[r * kPitch + c] = r < rows && c < cols ? widen(source[r * stride + c]) * factor(r) : 0.0f;
  }
}
struct One {
  __device__ float operator()(int) const { return 1.0f; }
};
template <class T>
__device__ __forceinline__ void load_tile(float* tile, const T* source, int64_t stride, int64_t rows, int64_t cols) {
  load_tile(tile, source, stride, rows, cols, One{});
}

// A thread has the elements at rows row_of(i), columns col_of(j) of a 64 x 64 result.
using Sums = float[4][4];
__device__ __forceinline__ int row_of(int i) { return static_cast<int>(threadIdx.x) / 16 + 16 * i; }
__device__ __forceinline__ int col_of(int j) { return static_cast<int>(threadIdx.x) % 16 + 16 * j; }

// How a tile is read: by_row[r][k] or by_depth[k][r].
enum class Read { by_row, by_depth };

// x[i][e] = element (at + 16 i, k + e) of a tile; the pitch leaves no bank conflicts for either way of reading.
template <Read read>
__device__ __forceinline__ void take(float (&x)[4][4], const float* tile, int at, int k) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (read == Read::by_row) {
      load<4>(tile + (at + 16 * i) * kPitch + k, x[i]);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) x[i][e] = tile[(k + e) * kPitch + at + 16 * i];
    }
  }
}

// c += sum over 64 of a(row, k) b(column, k).
template <Read read_a, Read read_b>
__device__ __forceinline__ void multiply(Sums& c, const float* a, const float* b) {
#pragma unroll 2
  for (int k = 0; k < kChunk; k += 4) {
    float x[4][4], y[4][4];
    take<read_a>(x, a, row_of(0), k);
    take<read_b>(y, b, col_of(0), k);
#pragma unroll
    for (int e = 0; e < 4; ++e)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] += x[i][e] * y[j][e];
  }
}

// tile[t][r] = e^(lam[t] - lam[r]) c for r <= t, else 0.
__device__ __forceinline__ void store_decayed(float* tile, const Sums& c, const Decays& d) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int t = row_of(i), r = col_of(j);
      tile[t * kPitch + r] = r <= t ? expf(d.lam[t] - d.lam[r]) * c[i][j] : 0.0f;
    }
}

// Sum over the columns of a row: of the 16 threads that share it, the same in all of them.
__device__ __forceinline__ float row_sum(float x) {
  for (int step = 8; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

}  // namespace nemo::cuda::ssd

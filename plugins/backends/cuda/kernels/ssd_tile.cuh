// Pieces of the chunked scan of Mamba-2 (Dao & Gu 2024): products of 64 x 64 tiles in shared memory and the decays of a chunk. Tiles are
// f32. In f32 blocks of 256 threads multiply them by FMA; in 16-bit types blocks of 128 by tensor cores, from tiles rounded to TF32 (11
// bits: what is read in 16 bits stays exact, products with decays and states are off by 2^-12 of themselves), sums in f32.
//
// In a chunk of 64 tokens, with lam[t] the sum of dt A up to and with token t, u = dt x and S the state in front of the chunk:
//   y[t] = sum_{r <= t} e^(lam[t] - lam[r]) (c[t] b[r]) u[r] + e^lam[t] S c[t] + skip x[t]
//   state behind = e^lam[63] S + sum_r e^(lam[63] - lam[r]) u[r] b[r]^T
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda::ssd {

constexpr int kChunk = 64, kPitch = kChunk + 4, kTileFloats = kChunk * kPitch;

template <class T>
constexpr bool kTensorCores = sizeof(T) == 2;
template <class T>
constexpr int kThreads = kTensorCores<T> ? 128 : 256;

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

// As the tiles of blocks that compute in T hold it.
template <class T>
__device__ __forceinline__ float tile_value(float x) {
  if constexpr (kTensorCores<T>) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
  }
  return x;
}

// Tile [r][c] = factor(r) source[r * stride + c] for r < rows, c < cols; else 0. T: what the block computes in.
template <class T, class S, class F>
__device__ __forceinline__ void load_tile(float* tile, const S* source, int64_t stride, int64_t rows, int64_t cols, const F& factor) {
  constexpr int kQuads = kChunk / 4;
  const bool vector = reinterpret_cast<uintptr_t>(source) % (4 * sizeof(S)) == 0 && stride % 4 == 0;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kChunk * kQuads; i += kThreads<T>) {
    const int r = i / kQuads, c = i % kQuads * 4;
    float x[4] = {};
    if (r < rows && c + 4 <= cols && vector) {
      load<4>(source + r * stride + c, x);
    } else if (r < rows) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (c + e < cols) x[e] = widen(source[r * stride + c + e]);
    }
    const float f = factor(r);
#pragma unroll
    for (float& value : x) value = tile_value<T>(value * f);
    store<4>(tile + r * kPitch + c, x);
  }
}
struct One {
  __device__ float operator()(int) const { return 1.0f; }
};
template <class T, class S>
__device__ __forceinline__ void load_tile(float* tile, const S* source, int64_t stride, int64_t rows, int64_t cols) {
  load_tile<T>(tile, source, stride, rows, cols, One{});
}

// A thread has the elements at rows row_of(i), columns col_of(j) of a 64 x 64 result: by FMA 4 x 4 of them 16 apart; by tensor cores two
// rows of its warp's 16, and the pairs of columns that mma.m16n8k8 gives it.
template <class T>
constexpr int kRowsOf = kTensorCores<T> ? 2 : 4;
template <class T>
constexpr int kColsOf = kTensorCores<T> ? 16 : 4;
template <class T>
using Sums = float[kRowsOf<T>][kColsOf<T>];
template <class T>
__device__ __forceinline__ int row_of(int i) {
  const int thread = static_cast<int>(threadIdx.x);
  return kTensorCores<T> ? thread / 32 * 16 + thread % 32 / 4 + 8 * i : thread / 16 + 16 * i;
}
template <class T>
__device__ __forceinline__ int col_of(int j) {
  const int thread = static_cast<int>(threadIdx.x);
  return kTensorCores<T> ? j / 2 * 8 + thread % 4 * 2 + j % 2 : thread % 16 + 16 * j;
}

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

template <Read read_a, Read read_b>
__device__ __forceinline__ void multiply_plain(Sums<float>& c, const float* a, const float* b) {
#pragma unroll 2
  for (int k = 0; k < kChunk; k += 4) {
    float x[4][4], y[4][4];
    take<read_a>(x, a, row_of<float>(0), k);
    take<read_b>(y, b, col_of<float>(0), k);
#pragma unroll
    for (int e = 0; e < 4; ++e)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] += x[i][e] * y[j][e];
  }
}

template <Read read>
__device__ __forceinline__ uint32_t element(const float* tile, int at, int k) {
  return __float_as_uint(read == Read::by_row ? tile[at * kPitch + k] : tile[k * kPitch + at]);
}

// A warp's 16 x 64 in steps of 8: a of row lane / 4 (+ 8) and depth lane % 4 (+ 4), b of column lane / 4 and the same depths.
template <Read read_a, Read read_b>
__device__ __forceinline__ void multiply_tf32(Sums<bf16>& c, const float* a, const float* b) {
  const int lane = static_cast<int>(threadIdx.x) % 32, row = static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
#pragma unroll 2
  for (int k = lane % 4; k < kChunk; k += 8) {
    uint32_t x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = element<read_a>(a, row + i % 2 * 8, k + i / 2 * 4);
#pragma unroll
    for (int n = 0; n < kChunk / 8; ++n) {
      const uint32_t low = element<read_b>(b, 8 * n + lane / 4, k);
      const uint32_t high = element<read_b>(b, 8 * n + lane / 4, k + 4);
      asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                   : "+f"(c[0][2 * n]), "+f"(c[0][2 * n + 1]), "+f"(c[1][2 * n]), "+f"(c[1][2 * n + 1])
                   : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(low), "r"(high));
    }
  }
}

// c += sum over 64 of a(row, k) b(column, k).
template <class T, Read read_a, Read read_b>
__device__ __forceinline__ void multiply(Sums<T>& c, const float* a, const float* b) {
  if constexpr (kTensorCores<T>)
    multiply_tf32<read_a, read_b>(c, a, b);
  else
    multiply_plain<read_a, read_b>(c, a, b);
}

// f(row, column, i, j) for the elements of this thread.
template <class T, class F>
__device__ __forceinline__ void each_sum(const F& f) {
#pragma unroll
  for (int i = 0; i < kRowsOf<T>; ++i)
#pragma unroll
    for (int j = 0; j < kColsOf<T>; ++j) f(row_of<T>(i), col_of<T>(j), i, j);
}

// tile[t][r] = e^(lam[t] - lam[r]) c for r <= t, else 0.
template <class T>
__device__ __forceinline__ void store_decayed(float* tile, const Sums<T>& c, const Decays& d) {
  each_sum<T>(
      [&](int t, int r, int i, int j) { tile[t * kPitch + r] = r <= t ? tile_value<T>(expf(d.lam[t] - d.lam[r]) * c[i][j]) : 0.0f; });
}

// Sum over the columns of a row: of the threads that share it, the same in all of them; leads: one of them.
template <class T>
__device__ __forceinline__ float row_sum(float x) {
  for (int step = kTensorCores<T> ? 2 : 8; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}
template <class T>
__device__ __forceinline__ bool leads() {
  return threadIdx.x % (kTensorCores<T> ? 4 : 16) == 0;
}

}  // namespace nemo::cuda::ssd

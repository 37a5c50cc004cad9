// The product of one tile by tensor cores: C[128 x 128] = A B over a reduction of any length, in steps of 32, with four buffers in shared
// memory filled ahead by cp.async. Four warps of 64 x 64. An operand lies in shared memory as it lies in global memory: `along`, rows of C
// by reduction (128 x 32), or `across`, reduction by rows of C (32 x 128). Pitches leave no bank conflicts for ldmatrix.
#pragma once

#include "kernels/attention_tile.cuh"

namespace nemo::cuda::grouped {

using attention::commit_loads;
using attention::load_matrices;
using attention::load_matrices_turned;
using attention::multiply;
using attention::wait_for_loads;

constexpr int kTile = 128, kDepth = 32, kStages = 4, kThreads = 128;
constexpr int kAlongPitch = kDepth + 8, kAcrossPitch = kTile + 8;
constexpr int kOperand = kTile * kAlongPitch;  // elements of a buffer; the other layout is smaller
static_assert(kDepth * kAcrossPitch <= kOperand && kTile * kAcrossPitch <= kStages * 2 * kOperand);
template <class H>
constexpr int kSharedBytes = kStages * 2 * kOperand* static_cast<int>(sizeof(H));

enum class Lay { along, across };

// 8 elements from global to shared memory, of which `inside` exist; the others become 0. vector: all or none exist, 16-byte aligned.
template <class H>
__device__ __forceinline__ void fetch(H* to, const H* from, int64_t inside, bool vector) {
  if (vector) {
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(inside > 0 ? 16 : 0));
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e) to[e] = e < inside ? from[e] : H(0.0f);
  }
}

// One operand: four pieces of 8 elements per thread and step. Along: this thread's rows (threadIdx.x / 4 + 32 j) of C start at row[j],
// nullptr where there are none; pieces go by threadIdx.x % 4 over the reduction.
template <class H>
struct Along {
  const H* row[4];
  const H* safe;  // an address to name where nothing is read
  int64_t reduced;
  bool vector;

  __device__ void load(H* tile, int step) {
    const int64_t k = static_cast<int64_t>(step) * kDepth + threadIdx.x % 4 * 8;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t inside = row[j] != nullptr ? reduced - k : 0;
      fetch(tile + (threadIdx.x / 4 + 32 * j) * kAlongPitch + threadIdx.x % 4 * 8, inside > 0 ? row[j] + k : safe, inside, vector);
    }
  }
};

// Across: rows of the reduction (threadIdx.x / 16 + 8 j of a step) start at base + number * ld; with `order` their numbers are looked up
// there, a step ahead. Columns are those of C from threadIdx.x % 16 * 8 on, of which `inside` exist.
template <class H>
struct Across {
  const H* base;
  int64_t ld, reduced, inside;
  const int32_t* order;
  bool vector;
  int32_t next[4] = {};  // numbers of the rows of the step that is loaded next

  static __device__ int row(int j) { return static_cast<int>(threadIdx.x) / 16 + 8 * j; }
  // Once before the first load, where there is an order.
  __device__ void look_up(int step) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t k = static_cast<int64_t>(step) * kDepth + row(j);
      next[j] = k < reduced ? order[k] : 0;
    }
  }
  __device__ void load(H* tile, int step) {
    const int c = static_cast<int>(threadIdx.x) % 16 * 8;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t k = static_cast<int64_t>(step) * kDepth + row(j);
      const bool there = k < reduced && inside > 0;
      const H* from = there ? base + (order != nullptr ? next[j] : k) * ld + c : base;
      fetch(tile + row(j) * kAcrossPitch + c, from, there ? inside : 0, vector);
    }
    if (order != nullptr) look_up(step + 1);
  }
};

// 16 rows of A from row `m` on, reduction from k on, as mma.m16n8k16 wants them.
template <Lay lay, class H>
__device__ __forceinline__ void fragment_a(uint32_t (&x)[4], const H* tile, int m, int k) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (lay == Lay::along)
    load_matrices(x, tile + (m + lane % 16) * kAlongPitch + k + lane / 16 * 8);
  else
    load_matrices_turned(x, tile + (k + lane % 8 + lane / 16 * 8) * kAcrossPitch + m + lane / 8 % 2 * 8);
}
// 16 columns of B: x[0..1] of the first 8, x[2..3] of the others.
template <Lay lay, class H>
__device__ __forceinline__ void fragment_b(uint32_t (&x)[4], const H* tile, int n, int k) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (lay == Lay::along)
    load_matrices(x, tile + (n + lane % 8 + lane / 16 * 8) * kAlongPitch + k + lane / 8 % 2 * 8);
  else
    load_matrices_turned(x, tile + (k + lane % 16) * kAcrossPitch + n + lane / 16 * 8);
}

// A warp's 64 x 64 in the register layout of attention_tile.cuh: c[m][n] is the 16 x 8 tile at rows 16 m, columns 8 n.
using Sums = float[4][8][4];
__device__ __forceinline__ int warp_row() { return static_cast<int>(threadIdx.x) / 64 * 64; }
__device__ __forceinline__ int warp_col() { return static_cast<int>(threadIdx.x) / 32 % 2 * 64; }

// Ends with a barrier: shared memory is free.
template <Lay lay_a, Lay lay_b, class H, class A, class B>
__device__ __forceinline__ void multiply_tile(Sums& c, H* shared, A& a, B& b, int steps) {
  const auto load = [&](int step) {
    if (step < steps) {
      H* at = shared + step % kStages * 2 * kOperand;
      a.load(at, step);
      b.load(at + kOperand, step);
    }
    commit_loads();
  };
  for (int step = 0; step < kStages - 1; ++step) load(step);
  for (int step = 0; step < steps; ++step) {
    wait_for_loads<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    const H *tile_a = shared + step % kStages * 2 * kOperand, *tile_b = tile_a + kOperand;
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      uint32_t x[4][4], y[4];
#pragma unroll
      for (int m = 0; m < 4; ++m) fragment_a<lay_a>(x[m], tile_a, warp_row() + 16 * m, k);
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        fragment_b<lay_b>(y, tile_b, warp_col() + 8 * n, k);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          multiply<H>(c[m][n], x[m], y[0], y[1]);
          multiply<H>(c[m][n + 1], x[m], y[2], y[3]);
        }
      }
    }
  }
  wait_for_loads<0>();
  __syncthreads();
}

// f(row, column, value, value of the next column) for all of this thread's pairs.
template <class F>
__device__ __forceinline__ void each_pair(const Sums& c, const F& f) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int m = 0; m < 4; ++m)
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        f(warp_row() + 16 * m + lane / 4 + 8 * half, warp_col() + 8 * n + lane % 4 * 2, c[m][n][2 * half], c[m][n][2 * half + 1]);
}

}  // namespace nemo::cuda::grouped

// The runs of equal segment numbers of packed sequences, as cuDNN wants them: lengths, and where each begins in every tensor. One block;
// reads 8 b s bytes, from the cache the second time.
#include "attention_packed.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32, kTile = 32;

// Whether a run begins at token i, and whether its number does not ascend.
struct Mark {
  bool begins, falls;
  __device__ Mark(const PackedRuns& r, int32_t i, int32_t tokens) : begins(false), falls(false) {
    if (i >= tokens) return;
    const int32_t here = r.segments[i];
    begins = i % r.s == 0;
    if (begins) return;
    const int32_t before = r.segments[i - 1];
    begins = here != before, falls = here < before;
  }
};

__global__ void __launch_bounds__(kThreads) runs_kernel(const PackedRuns r) {
  __shared__ int32_t count[kWarps];
  __shared__ int32_t fallen;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int32_t tokens = r.b * r.s, part = (tokens + kThreads - 1) / kThreads * 32, from = warp * part;
  if (threadIdx.x == 0) fallen = 0;
  __syncthreads();
  int32_t own = 0;
  bool falls = false;
#pragma unroll 4
  for (int32_t i = from; i < from + part; i += 32) {
    const Mark m(r, i + lane, tokens);
    own += __popc(__ballot_sync(~0u, m.begins));
    falls |= m.falls;
  }
  if (falls) fallen = 1;
  if (lane == 0) count[warp] = own;
  __syncthreads();
  int32_t rank = 0, total = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) rank = total;
    total += count[w];
  }
#pragma unroll 4
  for (int32_t i = from; i < from + part; i += 32) {
    const Mark m(r, i + lane, tokens);
    const unsigned all = __ballot_sync(~0u, m.begins);
    const int32_t at = rank + __popc(all & ((1u << lane) - 1));
    if (m.begins && at < r.most) r.first[at] = i + lane;
    rank += __popc(all);
  }
  __syncthreads();
  const bool refused = fallen != 0 || total > r.most;
  if (threadIdx.x == 0) *r.gate = refused ? 1 : 0;
  for (int32_t n = static_cast<int32_t>(threadIdx.x); n <= r.most; n += kThreads) {
    const int32_t begin = n < total && n < r.most ? r.first[n] : tokens, end = n + 1 < total && n + 1 < r.most ? r.first[n + 1] : tokens;
    if (n < r.most) r.lengths[n] = refused ? 0 : end - begin;
    const int32_t row = begin == tokens ? r.b - 1 : begin / r.s, position = begin - row * r.s;
    r.row_starts[n] = begin * r.h;
    for (int32_t t = 0; t < r.tensors; ++t) r.starts[t][n] = static_cast<int32_t>(row * r.heads[t].batch + position * r.heads[t].position);
  }
}

// to[c][r] = from[r][c] of each batch.
__global__ void __launch_bounds__(kTile * 8) turn_kernel(const float* from, float* to, int32_t rows, int32_t cols) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t base = static_cast<int64_t>(blockIdx.z) * rows * cols;
  const int32_t r0 = static_cast<int32_t>(blockIdx.x) * kTile, c0 = static_cast<int32_t>(blockIdx.y) * kTile;
  const int32_t x = static_cast<int32_t>(threadIdx.x);
  for (int32_t y = static_cast<int32_t>(threadIdx.y); y < kTile; y += 8)
    if (r0 + y < rows && c0 + x < cols) tile[y][x] = from[base + static_cast<int64_t>(r0 + y) * cols + c0 + x];
  __syncthreads();
  for (int32_t y = static_cast<int32_t>(threadIdx.y); y < kTile; y += 8)
    if (c0 + y < cols && r0 + x < rows) to[base + static_cast<int64_t>(c0 + y) * rows + r0 + x] = tile[x][y];
}

void turn(const float* from, float* to, int64_t b, int64_t rows, int64_t cols, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(rows, kTile)), static_cast<unsigned>(ceil_div(cols, kTile)), static_cast<unsigned>(b));
  turn_kernel<<<grid, dim3(kTile, 8), 0, stream>>>(from, to, static_cast<int32_t>(rows), static_cast<int32_t>(cols));
}

}  // namespace

void find_runs(const PackedRuns& runs, cudaStream_t stream) { runs_kernel<<<1, kThreads, 0, stream>>>(runs); }
void rows_to_heads(const float* from, float* to, int64_t b, int64_t s, int64_t h, cudaStream_t stream) { turn(from, to, b, s, h, stream); }
void heads_to_rows(const float* from, float* to, int64_t b, int64_t s, int64_t h, cudaStream_t stream) { turn(from, to, b, h, s, stream); }

}  // namespace nemo::cuda

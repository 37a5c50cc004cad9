// What the norm kernels share: a row lives in the registers of one block, kItems vectors of N elements per thread.
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

enum class Family { rms, layer };
enum class Residual { no, yes };
enum class Top { no, yes };  // whether the largest magnitude of the result is wanted as well

struct NormArgs {
  const void *x, *residual, *w, *b, *bias;  // bias: of the sum
  void *y, *sum;
  float *mean, *rstd;
  int64_t rows, cols, ldx, ldr, ldy, lds;
  float eps, shift;
  bool layer;
  float* top;  // becomes the largest magnitude of y; nullptr: not wanted
};

// Threads of a block: with several items per thread fewer, so that the row stays in registers.
constexpr int max_threads(int items) { return items == 1 ? 1024 : 512; }

// How a row of `cols` elements is spread over a block.
struct RowShape {
  int threads, items;
};
inline RowShape row_shape(int64_t cols, int lanes) {
  const int64_t vectors = ceil_div(cols, lanes);
  const int items = vectors <= max_threads(1) ? 1 : vectors <= 4 * max_threads(4) ? 4 : 8;
  return {static_cast<int>(ceil_div(ceil_div(vectors, items), 32) * 32), items};
}

// Calls f(std::integral_constant<int, items>) for items in {1, 4, 8}.
template <class F>
void with_items(int items, F&& f) {
  if (items == 1) return f(std::integral_constant<int, 1>{});
  if (items == 4) return f(std::integral_constant<int, 4>{});
  f(std::integral_constant<int, 8>{});
}

// Blocks for the rows: as many as the device holds at once, each walking over its share of the rows.
template <class K>
unsigned resident_grid(K kernel, const RowShape& shape, int64_t rows, int multiprocessors) {
  int per = 1;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per, kernel, shape.threads, 0), "occupancy");
  return static_cast<unsigned>(std::min<int64_t>(rows, static_cast<int64_t>(multiprocessors) * std::max(per, 1)));
}

constexpr int64_t kMaxVectors = 8 * max_threads(8);
inline void check_row(const Node& node, int64_t cols, int lanes) {
  if (cols > kMaxVectors * (cols % lanes == 0 ? lanes : 1))
    node.refuse("rows of more than 4096 vectors of 16 bytes, or 4096 unaligned elements");
}

}  // namespace nemo::cuda

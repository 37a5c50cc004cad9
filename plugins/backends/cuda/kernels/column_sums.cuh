// The second stage of sums over rows: out[c] = sum over parts of partial[part][c], in a fixed order (+ out[c] where it accumulates).
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

// Elements from one part to the next.
constexpr int64_t partial_pitch(int64_t cols) { return (cols + 63) / 64 * 64; }

// Up to two sums of the same shape, finished by one kernel.
struct ColumnSums {
  struct One {
    const float* partial;
    void* out;
    nemo_dtype dtype;
  };
  int64_t parts, cols;
  One one[2];
  unsigned count;

  void add(const float* partial, nemo_dtype dtype, void* out) { one[count++] = {partial, out, dtype}; }
};

void finish_column_sums(const ColumnSums& sums, const Launch& l);

}  // namespace nemo::cuda

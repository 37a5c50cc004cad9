// The second stage of sums over rows: out[c] = sum over parts of partial[part][c], in a fixed order (+ out[c] where it accumulates).
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

// Elements from one part to the next.
constexpr int64_t partial_pitch(int64_t cols) { return (cols + 63) / 64 * 64; }

// Columns whose sums are known to be 0; the partials have none of them.
struct Zeros {
  int64_t start = 0, length = 0;
};

// Up to three sums of the same shape, finished by one kernel.
struct ColumnSums {
  struct One {
    const float* partial;
    void* out;
    nemo_dtype dtype;
  };
  int64_t parts, cols;
  One one[3];
  unsigned count;
  Zeros zeros{};

  void add(const float* partial, nemo_dtype dtype, void* out) { one[count++] = {partial, out, dtype}; }
};

void finish_column_sums(const ColumnSums& sums, const Launch& l);

// Sums over the rows of a matrix in two stages, in a fixed order.
struct RowSums {
  nemo_dtype type;
  int64_t rows, cols, ld, parts;
  Zeros zeros;

  RowSums(nemo_dtype type, const Matrix& m, int multiprocessors, Zeros left_out = {});
  __host__ __device__ int64_t summed() const { return cols - zeros.length; }
  uint64_t workspace() const { return align_up(static_cast<uint64_t>(parts * partial_pitch(cols)) * sizeof(float)); }
  // out (+)= the sums, as the launch says; `partial` has workspace() bytes.
  void run(const void* x, nemo_dtype out_type, void* out, float* partial, const Launch& l) const;
};

}  // namespace nemo::cuda

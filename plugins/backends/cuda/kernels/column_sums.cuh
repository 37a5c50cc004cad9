// The second stage of sums over rows: out[c] = sum over parts of partial[part][c], in a fixed order (+ out[c] where it accumulates).
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

// Elements from one part to the next.
constexpr int64_t partial_pitch(int64_t cols) { return (cols + 63) / 64 * 64; }

void finish_column_sums(const float* partial, int64_t parts, int64_t cols, nemo_dtype dtype, void* out, const Launch& l);

}  // namespace nemo::cuda

// What the kernels of grouped products share: their arguments, and where a tile's rows lie.
#pragma once

#include "groups.hpp"
#include "kernels/device.cuh"
#include "kernels/grouped_tile.cuh"

namespace nemo::cuda::grouped {

// y[row][out] = sum_k x[row][k] w, with w[e][out][k] (forward) or w[e][k][out] (dgrad).
struct RowsArgs {
  const void *x, *w, *bias;  // bias nullptr: none
  void* y;
  GroupOrder::Lists lists;
  int64_t ldx, ldy, out, reduced;
  int32_t experts;
  bool vector;
};
// dw[e][n][k] (+)= sum over the rows of e of dy[row][n] x[row][k].
struct WgradArgs {
  const void *dy, *x;
  void* dw;
  GroupOrder::Lists lists;
  int64_t lddy, ldx, n, k;
  nemo_dtype grad;
  bool vector, add;
};

// The place of tile `tile` of the rows; expert = -1: there is no such tile.
struct Place {
  int32_t expert, first, rows;  // in `order`

  __device__ Place(const GroupOrder::Lists& lists, int32_t experts, int32_t tile, int32_t tile_rows) {
    int32_t low = 0, high = experts + 1;  // the last group whose tiles begin at or before `tile`
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      (lists.tile[middle] <= tile ? low : high) = middle;
    }
    const int32_t begin = lists.tile[low], end = lists.first[low + 1];
    expert = tile < lists.tile[experts + 1] ? low : -1;
    first = lists.first[low] + (tile - begin) * tile_rows;
    rows = min(tile_rows, end - first);
  }
};

template <class H>
__device__ __forceinline__ void add_to(nemo_dtype type, void* base, int64_t at, float value, bool add) {
  if (type == NEMO_DTYPE_F32) {
    float* to = static_cast<float*>(base) + at;
    *to = add ? *to + value : value;
  } else {
    H* to = static_cast<H*>(base) + at;
    *to = narrow<H>(add ? widen(*to) + value : value);
  }
}

// The same products by wider tiles (grouped_wide.cuh): 16-bit types, args.vector. prepare_wide allows the kernels their shared memory.
void prepare_wide(nemo_dtype type);
void launch_rows_wide(nemo_dtype type, const RowsArgs& args, Lay lay, int64_t row_tiles, cudaStream_t stream);
void launch_wgrad_wide(nemo_dtype type, const WgradArgs& args, int64_t experts, cudaStream_t stream);

}  // namespace nemo::cuda::grouped

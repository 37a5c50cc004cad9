// The sum of what several ranks have sent, each part as long as the result.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "nemo/backend.h"

namespace nemo::cuda {

// Where a result's parts lie: rank p's at `first` + p `stride` elements, this rank's own at `own`.
struct Parts {
  const void* first;
  int64_t stride;
  int count, own_rank;
  const void* own;
};

// out[i] = part 0 [i] + part 1 [i] + ..., in that order, added in f32 and rounded once: the same bits on every rank and in every run. Only
// enqueues. `out` may be `own`.
void sum_parts(const Parts& parts, void* out, int64_t n, nemo_dtype dtype, cudaStream_t stream);
// Whether the elements can be added so.
bool can_sum_parts(nemo_dtype dtype);

}  // namespace nemo::cuda

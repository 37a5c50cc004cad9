// The sum of what several ranks have sent, each part as long as the result.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "nemo/backend.h"

namespace nemo::cuda {

// out[i] = parts[0 n + i] + parts[1 n + i] + ... of `count` parts, in that order, added in f32 and rounded once: the same bits
// on every rank and in every run. Only enqueues. `out` lies apart from `parts`.
void sum_parts(const void* parts, void* out, int64_t n, int count, nemo_dtype dtype, cudaStream_t stream);
// Whether the elements can be added so.
bool can_sum_parts(nemo_dtype dtype);

}  // namespace nemo::cuda

// Whether an algorithm's product is right, at some of its elements. cuBLASLt 13.1 proposes one for 12 x 16 x 256000 (split in 66) that
// leaves some 64 of the products out.
#pragma once

#include "gemm.hpp"

namespace nemo::cuda {

constexpr int kSamples = 256;

// Of A B without what is in C and without an epilogue; operands of f32, bf16 or f16. `wanted` and `got` hold kSamples values in device
// memory. Both only enqueue.
void compute_samples(const Product& p, const void* a, const void* b, float* wanted, cudaStream_t stream);
void read_samples(const Product& p, const void* c, float* got, cudaStream_t stream);

}  // namespace nemo::cuda

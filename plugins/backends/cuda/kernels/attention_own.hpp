// Attention by own kernels: f32, bf16 and f16, any strides, head dimensions up to 256, every option of the row, the same bits in every run.
// For what cuDNN refuses, for f32 and for deterministic training; 16-bit products go through mma.sync, f32 through FMA.
#pragma once

#include "attention.hpp"

namespace nemo::cuda {

// nullptr, or why the own kernels cannot do it.
const char* own_refuses(const AttentionSpec& spec);

void own_forward(const AttentionForward& p, const ForwardPointers& x, cudaStream_t stream);

// Bytes: the row sums of dO O in f32.
uint64_t own_backward_workspace(const AttentionBackward& p);
void own_backward(const AttentionBackward& p, const BackwardPointers& x, cudaStream_t stream, void* workspace);

}  // namespace nemo::cuda

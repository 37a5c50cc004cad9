// Attention by cuDNN's fused kernels: bf16 and fp16, causal or not, sliding window, grouped heads, head dimensions up to 256.
// The graphs are the patterns of primitive operations that cuDNN recognises as attention (the single SDPA node knows no masks before 9.21).
#pragma once

#include "attention.hpp"
#include "cudnn_graph.hpp"

namespace nemo::cuda {

// Whether cuDNN could take it at all; false for segments (attention_packed.hpp), soft caps, f32 and strides that are no multiples of 16 bytes.
bool cudnn_takes(const AttentionForward& p);
bool cudnn_takes(const AttentionBackward& p);

// In which order dq gathers over blocks of keys. fixed: the same bits in every run, for 2 b h s t bytes of workspace (dS kept in memory).
enum class DqOrder { any, fixed };

// Throw UNSUPPORTED where cuDNN refuses.
std::shared_ptr<const CudnnPlan> build_forward(std::shared_ptr<const Cudnn> cudnn, const AttentionForward& p);
std::shared_ptr<const CudnnPlan> build_backward(std::shared_ptr<const Cudnn> cudnn, const AttentionBackward& p, DqOrder order);

// Bytes of all that a launch needs beyond the tensors.
uint64_t backward_workspace(const CudnnPlan& plan, const AttentionBackward& p, DqOrder order);

void run_forward(CudnnBinding& binding, const ForwardPointers& x, cudaStream_t stream, void* workspace);
void run_backward(CudnnBinding& binding, const AttentionBackward& p, DqOrder order, const BackwardPointers& x, cudaStream_t stream,
                  void* workspace);

}  // namespace nemo::cuda

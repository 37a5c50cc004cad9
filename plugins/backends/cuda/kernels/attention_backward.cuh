// What the kernels of attention's backward share: their arguments, and the step from scores to gradients.
#pragma once

#include "attention_launch.cuh"

namespace nemo::cuda::attention {

struct BackwardArgs {
  Problem p;
  Heads dout, q, k, v, o, dq, dk, dv;
  BackwardPointers x;
  float* dots;  // rowsum(dO O) [b h s]
};

// Rows of the side that is walked.
template <class T, int D>
constexpr int kWalkedRows = sizeof(T) == 4 && D == 256 ? 16 : 32;

// Product and dp become the probability and dS of query i and key j.
__device__ inline void differentiate(const Problem& p, bool seen, float lse, float dot, float bias, float& product, float& dp) {
  float slope;
  const float score = p.score(product, slope) + bias;
  product = seen && lse != -INFINITY ? power_of_two((score - lse) * kLog2E) : 0;
  dp = product * (dp - dot) * slope;
}
// The same where the score is the scaled product and the key is seen.
__device__ inline void differentiate_plain(const Problem& p, float lse, float dot, float& product, float& dp) {
  product = power_of_two(product * (p.scale * kLog2E) - lse * kLog2E);
  dp = product * (dp - dot);
}

// dsinks and dbias, where they are wanted; after dots.
void extras_backward(const AttentionBackward& f, const BackwardArgs& args, cudaStream_t stream);

}  // namespace nemo::cuda::attention

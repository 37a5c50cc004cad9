// Attention of packed sequences by cuDNN's fused kernels: every run of equal segment numbers is a sequence of a batch whose tensors begin
// at offsets and have lengths of their own, both found on the device, so that one captured launch serves whatever a step packs. The number
// of sequences in the plan is fixed (most_sequences); where a step has more, or its segment numbers do not ascend within a row (equal
// numbers might then meet again, which the row `attention` of nemo/ops.def allows), all lengths become 0 and the own kernels, launched
// behind with that verdict as their gate, do the work.
#pragma once

#include "attention.hpp"
#include "cudnn_graph.hpp"

namespace nemo::cuda {

// Whether cuDNN could take it: 16-bit types, segments, at least 64 tokens a row, head dimensions that are multiples of 16, no soft cap and
// no extras; the heads of a position lie behind those of the position before.
bool packed_takes(const AttentionForward& p);
bool packed_takes(const AttentionBackward& p);

// Sequences of the plan: documents of 256 tokens on average, at least 8 for each row.
int64_t most_sequences(const AttentionSpec& s);

// Throw UNSUPPORTED where cuDNN refuses. The backward's dq is summed in any order.
std::shared_ptr<const CudnnPlan> build_packed_forward(std::shared_ptr<const Cudnn> cudnn, const AttentionForward& p);
std::shared_ptr<const CudnnPlan> build_packed_backward(std::shared_ptr<const Cudnn> cudnn, const AttentionBackward& p);

class PackedForward {
 public:
  PackedForward(const AttentionForward& p, std::shared_ptr<const CudnnPlan> plan);
  ~PackedForward();
  uint64_t workspace() const;
  void run(ForwardPointers x, cudaStream_t stream, void* workspace);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

class PackedBackward {
 public:
  PackedBackward(const AttentionBackward& p, std::shared_ptr<const CudnnPlan> plan);
  ~PackedBackward();
  uint64_t workspace() const;
  void run(BackwardPointers x, cudaStream_t stream, void* workspace);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

Prepared packed_forward(const AttentionForward& p, std::shared_ptr<const CudnnPlan> plan);
Prepared packed_backward(const AttentionBackward& p, std::shared_ptr<const CudnnPlan> plan);

// The kernels around cuDNN's (attention_runs.cu).
constexpr int kMostPackedTensors = 8;
struct PackedRuns {
  const int32_t* segments;
  int32_t b, s, h, most;            // most: sequences of the plan
  int32_t *lengths, *first, *gate;  // [most], [most + 1] number of the first token among b s; gate: 1 where the own kernels must do it
  int32_t tensors;
  Heads heads[kMostPackedTensors];
  int32_t* starts[kMostPackedTensors];  // [most + 1] elements
  int32_t* row_starts;                  // [most + 1], of f32 [b s h]
};
void find_runs(const PackedRuns& runs, cudaStream_t stream);
// [b s h] to [b h s] and back.
void rows_to_heads(const float* from, float* to, int64_t b, int64_t s, int64_t h, cudaStream_t stream);
void heads_to_rows(const float* from, float* to, int64_t b, int64_t s, int64_t h, cudaStream_t stream);

}  // namespace nemo::cuda

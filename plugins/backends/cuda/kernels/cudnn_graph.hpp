// A cuDNN operation graph, built op by op, and the execution plan made from it.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "cudnn_library.hpp"

namespace nemo::cuda {

using Dims = std::array<int64_t, 4>;

// Owns one backend descriptor.
class CudnnDescriptor {
 public:
  CudnnDescriptor() = default;
  CudnnDescriptor(const Cudnn& cudnn, cudnnBackendDescriptorType_t type);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept;
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept;

  cudnnBackendDescriptor_t get() const { return descriptor_; }
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values);
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& other);
  void finalize(const char* what);

 private:
  const Cudnn* cudnn_ = nullptr;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

// An executable graph. Immutable and shared between nodes of equal shape.
class CudnnPlan {
 public:
  uint64_t workspace() const { return workspace_; }

 private:
  friend class CudnnGraph;
  friend class CudnnBinding;
  std::shared_ptr<const Cudnn> cudnn_;
  CudnnDescriptor plan_;
  uint64_t workspace_ = 0;
  std::vector<int64_t> memory_uids_, constant_uids_;
  std::deque<std::array<char, 4>> constants_;
};

// A plan with addresses: the variant pack is kept for as long as the addresses stay the same, which they do from step to step.
class CudnnBinding {
 public:
  explicit CudnnBinding(std::shared_ptr<const CudnnPlan> plan) : plan_(std::move(plan)) {}
  const CudnnPlan& plan() const { return *plan_; }
  // `addresses`: of the memory tensors, in the order of CudnnGraph::memory. Enqueues.
  void execute(cudaStream_t stream, std::span<void* const> addresses, void* workspace);

 private:
  std::shared_ptr<const CudnnPlan> plan_;
  std::vector<void*> addresses_;
  void* workspace_ = nullptr;
  CudnnDescriptor pack_;
};

// Builder. All tensors have four dimensions. Every function throws as Cudnn::check does.
class CudnnGraph {
 public:
  using Id = int;
  explicit CudnnGraph(std::shared_ptr<const Cudnn> cudnn) : cudnn_(std::move(cudnn)) {}

  // A tensor in memory, 16-byte aligned; its address is given at execution, in the order of these calls. starts: an i32 tensor of
  // dims[0] + 1 offsets in elements from the address, where each dims[0] begins; -1: by the strides.
  Id memory(cudnnDataType_t type, const Dims& dims, const Dims& strides, Id starts = -1);
  // A value that exists inside the fused kernel only.
  Id value(cudnnDataType_t type, const Dims& dims, const Dims& strides, Id starts = -1);
  Id value(cudnnDataType_t type, const Dims& dims);  // row-major
  Id constant(float v);
  Id constant(int32_t v);

  // The sizes of each product of a batch, i32 tensors; -1: the tensors' own.
  struct Limits {
    Id m = -1, n = -1, k = -1;
  };
  void matmul(Id a, Id b, Id out) { matmul(a, b, out, Limits{}); }
  void matmul(Id a, Id b, Id out, const Limits& limits);
  void reduce(cudnnReduceTensorOp_t op, Id x, Id out);
  void reshape(Id x, Id out);
  // out = op(x), op(x, b) or, for BINARY_SELECT, mask ? x : b.
  void pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t compute, Id out, Id x, Id b = -1, Id mask = -1);
  void index(int64_t axis, Id like, Id out);

  // The first configuration of cuDNN's heuristics that can be built.
  std::shared_ptr<const CudnnPlan> build();

 private:
  Id add_tensor(cudnnDataType_t type, const Dims& dims, const Dims& strides, bool is_virtual, bool by_value, Id starts = -1);
  Id add_constant(cudnnDataType_t type, const void* value);
  void add_pointwise(CudnnDescriptor& pointwise, Id out, Id x, Id b, Id mask);
  CudnnDescriptor make(cudnnBackendDescriptorType_t type) const { return {*cudnn_, type}; }

  std::shared_ptr<const Cudnn> cudnn_;
  std::vector<CudnnDescriptor> tensors_, ops_;
  std::vector<int64_t> memory_uids_, constant_uids_;
  std::deque<std::array<char, 4>> constants_;
};

}  // namespace nemo::cuda

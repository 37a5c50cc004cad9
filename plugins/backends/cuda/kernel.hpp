// What the kernels of all families share: the opened device, the launch arguments and the prepared kernel.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "dtype.hpp"
#include "nemo/backend.h"
#include "nemo/cpp/core.hpp"
#include "nemo/cpp/node.hpp"

namespace nemo::cuda {

using sdk::Aligned;
using sdk::Matrix;
using sdk::Node;
using sdk::OpRow;
using sdk::Tensor;

class Gemm;

// Throws DEVICE_ERROR (OUT_OF_MEMORY where that is the cause) naming `what` and CUDA's own words.
void check(cudaError_t status, const char* what);

// Faults that kernels find in data. A kernel stores one into *Device::fault (any thread's store may win); synchronize reports it.
enum class Fault : int { none, embedding_id, label };

struct Device {
  int ordinal = 0;
  int multiprocessors = 0;
  cudaStream_t stream = nullptr;  // the backend's stream: what a NULL nemo_stream means
  int* fault = nullptr;           // mapped host memory, valid in kernels
  Gemm* gemm = nullptr;
  uint64_t memory_bytes = 0;        // all of the device's
  bool deterministic = false;       // setting: every kernel gives the same bits in every run
  bool autotune = false;            // setting: measure where there is a choice
  double determinism_limit = 1;     // setting: unless this costs more than this share of a step; 1: always
  bool use_cudnn = true;            // setting: attention through cuDNN where it takes the shape
  std::shared_ptr<void> attention;  // what the attention kernels share between nodes (library and handle); they set it in prepare
};

enum class Write { overwrite, accumulate };

// The arguments of one launch.
class Launch {
 public:
  Launch(const nemo_launch& raw, Write write, cudaStream_t stream) : raw_(raw), write_(write), stream_(stream) {}
  template <class T>
  const T* in(int i) const {
    return static_cast<const T*>(raw_.inputs[i]);
  }
  template <class T>
  T* out(int i) const {
    return static_cast<T*>(raw_.outputs[i]);
  }
  const void* in(int i) const { return raw_.inputs[i]; }
  void* out(int i) const { return raw_.outputs[i]; }
  // Of the outputs marked `+`.
  Write write() const { return write_; }
  cudaStream_t stream() const { return stream_; }
  // The workspace from byte `offset` on; 256-byte aligned where offset is a multiple of 256.
  template <class T>
  T* workspace(uint64_t offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(raw_.workspace) + offset);
  }

 private:
  const nemo_launch& raw_;
  Write write_;
  cudaStream_t stream_;
};

}  // namespace nemo::cuda

// One prepared node. run only enqueues: no allocation, no synchronization; the caller checks cudaGetLastError afterwards.
struct nemo_kernel {
  virtual ~nemo_kernel() = default;
  virtual void run(const nemo::cuda::Launch&) const = 0;
  const nemo::cuda::Device* device = nullptr;
  bool always_accumulates = false;  // attribute accumulate = 1
};

namespace nemo::cuda {

struct Prepared {
  std::unique_ptr<nemo_kernel> kernel;
  uint64_t workspace = 0;  // bytes
};

template <class F>
class BodyKernel final : public nemo_kernel {
 public:
  explicit BodyKernel(F body) : body_(std::move(body)) {}
  void run(const Launch& launch) const override { body_(launch); }

 private:
  F body_;
};

// body(const Launch&), called once per launch.
template <class F>
Prepared make_kernel(F body, uint64_t workspace = 0) {
  return {std::make_unique<BodyKernel<F>>(std::move(body)), workspace};
}

// The device outlives every kernel: kernels may keep a reference.
using Prepare = Prepared (*)(const Node&, Device&);

constexpr uint64_t align_up(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace nemo::cuda

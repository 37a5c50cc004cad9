// Whether attention's backward keeps a fixed order of summation: measured.
#pragma once

#include <optional>

#include "attention_cudnn.hpp"

namespace nemo::cuda {

// One way through cuDNN's backward.
struct BackwardRoute {
  AttentionBackward problem{};
  std::shared_ptr<const CudnnPlan> plan;  // nullptr: no such route
  DqOrder order = DqOrder::fixed;

  explicit operator bool() const { return plan != nullptr; }
  uint64_t workspace() const { return backward_workspace(*plan, problem, order); }
  void run(CudnnBinding& binding, const BackwardPointers& x, cudaStream_t stream, void* workspace) const {
    run_backward(binding, problem, order, x, stream, workspace);
  }
};

// Milliseconds of one launch on random data; nothing where there is no memory to try.
std::optional<double> time_route(const Device& device, const AttentionBackward& p, const BackwardRoute& route);

// Whether the fixed order costs at most device.determinism_limit of a step (and a tenth of the device's memory); says what it chose and the
// cost. A step is taken as decoder blocks of this attention's width: 72 (h d)^2 flops a token for their products at 700 TFLOP/s, 100 h d
// bytes a token at 2.8 TB/s for what only moves memory, and attention as measured.
bool fixed_order_pays(const Device& device, const AttentionBackward& p, const BackwardRoute& any, const BackwardRoute& fixed);

// The same of packed sequences, where the own kernels have the fixed order: timed with 8 documents in each row.
bool own_order_pays(const Device& device, const AttentionBackward& p, const std::shared_ptr<const CudnnPlan>& packed);

}  // namespace nemo::cuda

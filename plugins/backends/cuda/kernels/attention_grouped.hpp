// cuDNN's backward of grouped attention by two routes: as it stands, or with keys and values copied to every query head, whose gradients
// are then summed over their group. The second moves more memory, but cuDNN's kernel for equal heads is faster.
#pragma once

#include "attention_cudnn.hpp"

namespace nemo::cuda {

class BackwardRoute {
 public:
  BackwardRoute() = default;
  BackwardRoute(const AttentionBackward& asked, const AttentionBackward& solved, std::shared_ptr<const CudnnPlan> plan, DqOrder order)
      : asked_(asked), solved_(solved), plan_(std::move(plan)), order_(order) {}

  // The problem with as many kv heads as query heads, dense.
  static AttentionBackward spread(AttentionBackward p);

  explicit operator bool() const { return plan_ != nullptr; }
  const std::shared_ptr<const CudnnPlan>& plan() const { return plan_; }
  DqOrder order() const { return order_; }
  bool spreads() const { return asked_.spec.g != solved_.spec.g; }
  uint64_t workspace() const;
  void run(CudnnBinding& binding, const BackwardPointers& x, cudaStream_t stream, char* workspace) const;

 private:
  AttentionBackward asked_{}, solved_{};
  std::shared_ptr<const CudnnPlan> plan_;  // of solved_; nullptr: no such route
  DqOrder order_ = DqOrder::fixed;
};

}  // namespace nemo::cuda

// core/runtime/optimizer.hpp - the update at the end of a step: global-norm clipping, then one kernel per flat segment.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/runtime/program.hpp"
#include "core/runtime/state.hpp"

namespace nemo::runtime {

struct OptimizerSettings {
  enum class Kind { kAdamW, kSgd } kind = Kind::kAdamW;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;
  bool decay_all = false;  // norms and biases as well
  double momentum = 0;
  bool nesterov = false;
  double clip_grad_norm = 1.0;  // 0 = off

  [[nodiscard]] Keep keep() const { return kind == Kind::kAdamW ? Keep::kTwoMoments : Keep::kMomentum; }
};

// AdamW: Loshchilov & Hutter 2019, as torch.optim.AdamW; SGD as torch.optim.SGD. Clipping as torch.nn.utils.clip_grad_norm_: coefficient
// min(1, clip / (norm + 1e-6)).
class Optimizer {
 public:
  // Prepares the kernels. Borrows device and state.
  Optimizer(Device& device, State& state, const OptimizerSettings& settings);

  // One update from the gradients in `state`, which are sums over `tokens` unmasked tokens. `step` counts from 1. Returns the gradient norm
  // of the mean loss, before clipping; a norm that is not finite changes nothing.
  double step(double lr, int64_t step, double tokens);

 private:
  struct Launch {
    PreparedKernel prepared;
    std::vector<void*> inputs, outputs;
  };
  Launch prepare_segment(const passes::Segment& segment);
  void launch(Launch& launch);
  double gradient_norm(double tokens);

  Device& device_;
  State& state_;
  OptimizerSettings settings_;
  Buffer scalars_;  // f64: [0] sum of squares, [8..16) hyper
  Buffer workspace_;
  std::vector<Launch> norm_, updates_;
};

}  // namespace nemo::runtime

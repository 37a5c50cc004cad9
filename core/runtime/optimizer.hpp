// core/runtime/optimizer.hpp - the update at the end of a step: global-norm clipping, then one kernel per flat segment.
//
// Everything is enqueued: norm, clipping and the decision to skip are taken on the device, from totals that programs and ranks add up
// there, and the host reads the outcome once per step.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/runtime/gradient_sync.hpp"
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
  // Prepares the kernels. Borrows device, state and sync.
  Optimizer(Device& device, State& state, const OptimizerSettings& settings, GradientSync& sync);

  // Adds the summed loss that a program left at a device address (f32 or f64) to the step's total; the step's first one overwrites it.
  void add_loss(const std::byte* loss, graph::DType dtype, Gradients order);
  struct Step {
    double lr = 0;
    int64_t step = 1;       // counts from 1
    double tokens = 0;      // unmasked ones of this rank, over all of whose sum the gradients in `state` are averaged
    double loss_scale = 1;  // which the gradients carry
    bool stop = false;      // this rank wants the run to stop
  };
  // Enqueues one update. Where the norm is not finite nothing is changed.
  void enqueue(const Step& step);

  struct Report {
    double norm = 0;  // of the gradient of the mean loss, before clipping; over all ranks
    double loss = 0, tokens = 0;
    bool skipped = false;  // the norm is not finite
    bool stop = false;     // some rank wants the run to stop
  };
  // Waits for the device.
  [[nodiscard]] Report read();
  // enqueue, then read: the norm.
  double step(double lr, int64_t step, double tokens);

  // Kernels of one update by name of op with their launches, for profiles.
  void visit(const std::function<void(std::string_view op, int64_t elements, const std::function<void()>& launch)>& each);
  [[nodiscard]] int64_t workspace_bytes() const { return workspace_.bytes(); }

 private:
  struct Launch {
    PreparedKernel prepared;
    std::vector<void*> inputs, outputs;
    std::string op;
    int64_t elements = 0;
  };
  Launch prepare_piece(const GradientSync::Piece& piece);
  void prepare_totals();
  void prepare_norm(const GradientSync::Piece& piece);
  void launch(Launch& launch, uint32_t flags = 0);
  [[nodiscard]] std::byte* scalar(int64_t index) const { return scalars_.data() + index * 8; }

  Device& device_;
  State& state_;
  OptimizerSettings settings_;
  GradientSync& sync_;
  Buffer scalars_;  // f64, see optimizer.cpp
  Buffer workspace_;
  std::vector<Launch> norm_;
  Launch clip_;
  std::map<graph::DType, Launch> losses_;
  std::vector<Launch> updates_;
};

}  // namespace nemo::runtime

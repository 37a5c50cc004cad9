// core/runtime/loss_scaler.hpp - dynamic loss scaling (Micikevicius et al. 2018), with the hysteresis of Megatron: gradients of narrow
// formats are kept in range by a factor on the loss that follows what overflows.
#pragma once

#include <cstdint>

#include "core/passes/type.hpp"

namespace nemo::runtime {

class LossScaler {
 public:
  // What a checkpoint keeps, so that a resumed run scales as the run without interruption.
  struct State {
    double scale = 1;
    int64_t finite_steps = 0;    // in a row
    int64_t overflows_left = 0;  // until the scale is halved
    int64_t skipped_steps = 0;   // of the whole run
  };

  explicit LossScaler(const passes::LossScaling& rule);

  [[nodiscard]] bool active() const { return rule_.initial > 0; }
  [[nodiscard]] double scale() const { return state_.scale; }
  [[nodiscard]] const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

  // After each step. False where no scale can cure a gradient that is not finite: there is no scaling, or the scale is at its minimum.
  [[nodiscard]] bool update(bool finite);

 private:
  passes::LossScaling rule_;
  State state_;
};

}  // namespace nemo::runtime

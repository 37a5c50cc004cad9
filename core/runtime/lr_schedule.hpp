// core/runtime/lr_schedule.hpp - the learning rate of each step, as the reference systems compute it.
#pragma once

#include <cstdint>

namespace nemo::runtime {

struct LrSchedule {
  enum class Type { kConstant, kLinear, kCosine, kWsd } type = Type::kConstant;
  double lr = 0;  // peak
  double min_lr = 0;
  int64_t warmup_steps = 0;
  int64_t decay_steps =
      0;  // linear, constant: the step at which min_lr is reached; wsd: length of the decay at the end; 0 = max_steps (wsd: a tenth of it)
  int64_t constant_steps = 0;  // cosine: steps at min_lr at the end
  int64_t max_steps = 0;

  // Learning rate of optimizer step s, counted from 0.
  //   cosine            NeMo's CosineAnnealing: warm-up lr (s+1)/(warmup+1), or lr s/warmup where constant_steps > 0, then half a cosine
  //   until max_steps - constant_steps linear, constant  Megatron's OptimizerParamScheduler: warm-up lr s/warmup, then a line to min_lr at
  //   decay_steps, or lr wsd               Megatron's WSD with linear decay: warm-up, lr, then a line to min_lr over the last decay_steps
  [[nodiscard]] double at(int64_t s) const;
};

}  // namespace nemo::runtime

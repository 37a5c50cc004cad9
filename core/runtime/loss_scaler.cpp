#include "core/runtime/loss_scaler.hpp"

#include <algorithm>

namespace nemo::runtime {

LossScaler::LossScaler(const passes::LossScaling& rule) : rule_(rule) {
  if (!active()) return;
  state_.scale = rule_.initial;
  state_.overflows_left = rule_.hysteresis;
}

bool LossScaler::update(bool finite) {
  if (!active()) return finite;
  const bool moves = rule_.window > 0;
  if (finite) {
    if (!moves || ++state_.finite_steps < rule_.window) return true;
    state_.finite_steps = 0;
    state_.overflows_left = rule_.hysteresis;
    state_.scale *= 2;
    return true;
  }
  ++state_.skipped_steps;
  state_.finite_steps = 0;
  if (!moves || --state_.overflows_left > 0) return true;
  const bool curable = state_.scale > rule_.least;
  state_.scale = std::max(state_.scale / 2, rule_.least);
  return curable;
}

}  // namespace nemo::runtime

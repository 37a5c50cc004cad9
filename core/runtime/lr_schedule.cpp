#include "core/runtime/lr_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace nemo::runtime {
namespace {

double line(double from, double to, double t) { return from + (to - from) * std::clamp(t, 0.0, 1.0); }

double cosine(const LrSchedule& c, int64_t s) {
  const auto warmup = static_cast<double>(c.warmup_steps);
  if (s < c.warmup_steps)
    return c.constant_steps > 0 ? c.lr * static_cast<double>(s) / warmup : c.lr * static_cast<double>(s + 1) / (warmup + 1);
  const int64_t end = (c.decay_steps > 0 ? c.decay_steps : c.max_steps) - c.constant_steps;
  if (s >= end) return c.min_lr;
  const double t = static_cast<double>(s - c.warmup_steps) / static_cast<double>(end - c.warmup_steps);
  return c.min_lr + (c.lr - c.min_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * t));
}

double wsd(const LrSchedule& c, int64_t s) {
  const int64_t length = c.decay_steps > 0 ? c.decay_steps : std::max<int64_t>(c.max_steps / 10, 1);
  const int64_t start = c.max_steps - length;
  if (s <= start) return c.lr;
  return line(c.lr, c.min_lr, static_cast<double>(s - start) / static_cast<double>(length));
}

}  // namespace

double LrSchedule::at(int64_t s) const {
  if (type == Type::kCosine) return cosine(*this, s);
  if (warmup_steps > 0 && s <= warmup_steps) return lr * static_cast<double>(s) / static_cast<double>(warmup_steps);
  if (type == Type::kConstant) return lr;
  if (type == Type::kWsd) return wsd(*this, s);
  const int64_t end = decay_steps > 0 ? decay_steps : max_steps;
  if (end <= warmup_steps) return min_lr;
  return line(lr, min_lr, static_cast<double>(s - warmup_steps) / static_cast<double>(end - warmup_steps));
}

}  // namespace nemo::runtime

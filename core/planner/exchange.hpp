// core/planner/exchange.hpp - what data ranks exchange once a step, piece by piece as runtime::GradientSync launches it. Internal to
// planner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/passes/compile.hpp"
#include "core/planner/network.hpp"

namespace nemo::planner {

struct Sum {
  std::string axes;
  Message message = Message::kAllReduce;
  double bytes = 0;               // of the whole range
  size_t ready = 0;               // index of the last op that writes into the range
  std::vector<size_t> writers{};  // all of them, and those of earlier sums over the same elements
};

// Sums of gradients, in the order in which they are launched: by `ready`, then by place.
[[nodiscard]] std::vector<Sum> gradient_sums(const passes::Compiled& compiled, const passes::Plan& plan, graph::DType gradient);

// Elements of the units whose parameters come back together behind the update, in their order; empty unless the plan shares out optimizer
// state and nothing else.
[[nodiscard]] std::vector<double> gathered_units(const passes::Compiled& compiled, const passes::Plan& plan);

}  // namespace nemo::planner

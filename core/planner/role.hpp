// core/planner/role.hpp - one pipeline rank's compiled graph, counted: seconds by chunk and phase, bytes by mesh axis. Internal to planner.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "core/passes/compile.hpp"
#include "core/pipeline/simulate.hpp"
#include "core/planner/exchange.hpp"
#include "core/planner/network.hpp"

namespace nemo::planner {

struct AxisLoad {
  double bytes = 0, seconds = 0, exposed = 0;
};

// One phase of one chunk, of one micro-batch.
struct PhaseLoad {
  double compute = 0;
  double exposed = 0;         // lost to communication: waiting for it, and slowed down by it
  double products = 0;        // seconds in products
  double large_products = 0;  // seconds if all were large, and if they were plain ones besides
  double ideal_products = 0;
  double attention = 0;  // seconds in attention
  [[nodiscard]] double seconds() const { return compute + exposed; }
};

struct RoleLoad {
  std::vector<std::array<PhaseLoad, 3>> chunks;  // by passes::StagePhase
  std::map<std::string, AxisLoad> axes;          // of one micro-batch
  std::map<std::string, AxisLoad> exchange;      // sums of gradients, once a step; exposed is what the last micro-batch takes longer
  std::vector<double> sent_bytes;                // by chunk: what it hands to the next stage
  int64_t workspace = 0;
  double room = 1;  // for rows of experts, over those that balanced routers send; the largest of all layers
  double once = 0;  // seconds of what runs once a step
};

// Ops run in the two streams that the compiled program plans, where the hardware's backend has them; else one after the other. `gradient`:
// dtype of the sums. `actions`: of a pipeline's rank in a step; empty without a pipeline.
[[nodiscard]] RoleLoad load_of(const passes::Compiled& compiled, const passes::Plan& plan, graph::DType gradient, const Hardware& hardware,
                               const pipeline::Actions& actions);

}  // namespace nemo::planner

// core/planner/role.hpp - one pipeline rank's compiled graph, counted: seconds by chunk and phase, bytes by mesh axis. Internal to planner.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "core/passes/compile.hpp"
#include "core/pipeline/simulate.hpp"
#include "core/planner/network.hpp"

namespace nemo::planner {

struct AxisLoad {
  double bytes = 0, seconds = 0, exposed = 0;  // of one micro-batch
};

// One phase of one chunk, of one micro-batch.
struct PhaseLoad {
  double compute = 0, exposed = 0;
  double products = 0, ideal_products = 0;  // seconds in products; seconds if they ran at the large products' rate
  double attention = 0;                     // seconds in attention
  [[nodiscard]] double seconds() const { return compute + exposed; }
};

struct RoleLoad {
  std::vector<std::array<PhaseLoad, 3>> chunks;  // by passes::StagePhase
  std::map<std::string, AxisLoad> axes;
  std::vector<double> sent_bytes;  // by chunk: what it hands to the next stage
  int64_t workspace = 0;
  double once = 0;  // seconds of what runs once a step
};

// `plan` gives the groups of mesh axes, `context` the one of them (or empty) along which sequences are split.
[[nodiscard]] RoleLoad load_of(const passes::Compiled& compiled, const passes::Plan& plan, const std::string& context,
                               const Hardware& hardware);

}  // namespace nemo::planner

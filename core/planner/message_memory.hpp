// core/planner/message_memory.hpp - what the communication library takes of a device for the groups and peers of one rank. Internal to
// planner.
#pragma once

#include <cstdint>

#include "core/passes/compile.hpp"
#include "core/planner/hardware.hpp"

namespace nemo::planner {

// Of a rank that runs `program`: every group that the run joins (runtime/ranks.hpp), its collectives, and the ranks that a pipeline's
// stages and exchanges of experts or heads have messages for, and the buffers of
// reductions that move by copy engines. `gradient`: dtype of the sums.
[[nodiscard]] int64_t message_memory(const Hardware& hardware, const passes::Plan& plan, const passes::Compiled& program,
                                     graph::DType gradient);

}  // namespace nemo::planner

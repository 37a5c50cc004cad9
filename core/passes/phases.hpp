// core/passes/phases.hpp - which of a pipeline rank's programs each op of its graph belongs to.
#pragma once

#include <cstdint>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/stage.hpp"

namespace nemo::passes {

enum class StagePhase : uint8_t { kForward, kBackward, kBackwardWeight };

struct Phases {
  std::vector<int32_t> chunk;        // by op
  std::vector<StagePhase> phase;     // by op
  std::vector<int32_t> value_chunk;  // by value: -1 where chunks share it (parameters, gradients, the loss scale)
};

// Requires a graph that stage() cut and differentiate() extended. With `split_weight`, ops that write gradient buffers and nothing else
// form the phase kBackwardWeight; else they are part of kBackward. Chunks are told apart by what is connected through results and inputs.
[[nodiscard]] Phases find_phases(const graph::Graph& graph, const Stages& stages, bool split_weight);

}  // namespace nemo::passes

// core/passes/pace.hpp - roughly how long ops take, where an order of ops is chosen by it. What is wrong here costs time, never a result.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::passes {

// Seconds of one op by itself on a training GPU of today: products at 600 TFLOP/s, memory at 2.5 TB/s, links between devices at 250 GB/s.
[[nodiscard]] double rough_seconds(const graph::Graph& graph, const graph::Op& op);

}  // namespace nemo::passes

// tests/models/evaluate.hpp - runs a forward graph in f64, op by op, as their rows in nemo/ops.def define them; slow and plain.
#pragma once

#include "core/graph/graph.hpp"
#include "tests/models/safetensors.hpp"

namespace nemo::models_test {

// `fed` holds inputs and parameters by name. Result: the graph's outputs by name. Throws on an op that the two models do not need.
[[nodiscard]] std::map<std::string, Array> evaluate(const graph::Graph& graph, const std::map<std::string, Array>& fed);

}  // namespace nemo::models_test

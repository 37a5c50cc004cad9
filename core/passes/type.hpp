// core/passes/type.hpp - pass "type": gives every value its dtype by the precision policy and inserts casts where an op computes in another
// dtype.
#pragma once

#include <functional>

#include "core/graph/graph.hpp"

namespace nemo::passes {

struct Precision {
  graph::DType parameter = graph::DType::kF32;
  graph::DType compute = graph::DType::kF32;
  graph::DType gradient = graph::DType::kF32;
  graph::DType master = graph::DType::kF32;
  graph::DType moment = graph::DType::kF32;
  // Compute dtype of an op kind; null: `compute` everywhere.
  std::function<graph::DType(std::string_view op)> op_dtype;

  [[nodiscard]] bool has_master() const { return master != parameter; }
};

// Requires an untyped forward graph.
void type(graph::Graph& graph, const Precision& precision);

}  // namespace nemo::passes

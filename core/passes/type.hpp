// core/passes/type.hpp - pass "type": gives every value its dtype by the precision policy and inserts casts where an op computes in another
// dtype.
#pragma once

#include <functional>

#include "core/graph/graph.hpp"
#include "core/passes/quantize.hpp"

namespace nemo::passes {

// Dynamic loss scaling (nemo/precision.h); initial = 0: none.
struct LossScaling {
  double initial = 0, least = 1;
  int64_t window = 1000, hysteresis = 2;
};

struct Precision {
  graph::DType parameter = graph::DType::kF32;
  graph::DType compute = graph::DType::kF32;
  graph::DType gradient = graph::DType::kF32;
  graph::DType master = graph::DType::kF32;
  graph::DType moment = graph::DType::kF32;
  // Compute dtype of an op kind; null: `compute` everywhere.
  std::function<graph::DType(std::string_view op)> op_dtype;

  graph::DType second_moment = graph::DType::kNone;  // kNone: as `moment`
  bool tf32 = false;                                 // products of f32 operands may round them
  Quantization quantization{};
  LossScaling loss_scaling{};

  [[nodiscard]] bool has_master() const { return master != parameter; }
};

// Requires an untyped forward graph.
void type(graph::Graph& graph, const Precision& precision);

}  // namespace nemo::passes

// Dtypes by policy: casts where an op computes in another dtype, once per value and dtype.
#include "core/passes/type.hpp"

#include <gtest/gtest.h>

#include "core/passes/differentiate.hpp"
#include "tests/passes/draft.hpp"

namespace nemo::passes {
namespace {

using graph::DType;
using graph::Graph;
using graph::ValueId;
using testing::Draft;
using testing::expect_golden;

const Precision kBF16{DType::kBF16, DType::kBF16, DType::kF32, DType::kF32, DType::kF32, nullptr};
const Precision kBF16OverF32{DType::kF32, DType::kBF16, DType::kF32, DType::kF32, DType::kF32, nullptr};

// A norm whose weight is read twice, and a loss.
Graph model() {
  Draft d;
  const ValueId x = d.embedded(), w = d.vector("norm");
  d.finish(d.op("rms_norm", {d.op("rms_norm", {x, w}), w}), d.table());
  return std::move(d.graph);
}

TEST(Type, bf16_parameters_need_no_cast_and_statistics_stay_f32) {
  expect_golden("type_bf16", model(), [](Graph& g) { type(g, kBF16); });
}

TEST(Type, f32_parameters_are_cast_once_for_all_readers) {
  expect_golden("type_bf16_over_f32", model(), [](Graph& g) { type(g, kBF16OverF32); });
}

TEST(Type, an_op_of_another_dtype_gets_its_inputs_cast_and_hands_casts_on) {
  expect_golden("type_norms_in_f32", model(), [](Graph& g) {
    Precision precision = kBF16;
    precision.op_dtype = [](std::string_view op) { return op == "rms_norm" ? DType::kF32 : DType::kBF16; };
    type(g, precision);
  });
}

TEST(Type, the_same_value_is_cast_to_a_dtype_at_most_once) {
  Graph g = model();
  Precision precision = kBF16OverF32;
  precision.op_dtype = [](std::string_view op) { return op == "rms_norm" ? DType::kF64 : DType::kBF16; };
  type(g, precision);
  std::set<std::pair<ValueId, std::string>> seen;
  for (const graph::Op& op : g.ops)
    EXPECT_TRUE(op.name() != "cast" || seen.insert({op.inputs[0], op.string_attr("dtype")}).second) << graph::print(g);
}

TEST(Type, integers_are_never_cast) {
  Graph g = model();
  type(g, kBF16OverF32);
  EXPECT_EQ(g.value(g.find_input("tokens")).dtype, DType::kI32);
  for (const graph::Op& op : g.ops) EXPECT_TRUE(op.name() != "cast" || g.value(op.inputs[0]).dtype != DType::kI32);
}

TEST(Type, a_sum_of_bf16_values_is_taken_in_f32_and_differentiates) {
  Draft d;
  const ValueId x = d.embedded();
  d.builder.output("loss", d.op("sum", {d.op("mul", {x, x})}));
  expect_golden("type_sum_of_bf16", std::move(d.graph), [](Graph& g) {
    type(g, kBF16);
    graph::verify(g, "type");
    differentiate(g, Recompute::kNone);
  });
}

}  // namespace
}  // namespace nemo::passes

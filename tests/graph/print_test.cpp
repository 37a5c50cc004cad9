#include <gtest/gtest.h>

#include "core/graph/graph.hpp"
#include "tests/graph/declare.hpp"

namespace nemo::graph {
namespace {

TEST(Print, one_op_per_line_with_attributes_types_mesh_and_scope) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kBF16, {{4, "batch", {}}, {8, "embed", {"tp"}}});
  const ValueId w = nemo::testing::declare_parameter(g, "up.weight", {{6, "mlp", {}}, {8, "embed", {"tp"}}}, DType::kBF16);
  g.ops.push_back(make_op(g, {"linear", {x, w}, {{"contract", int64_t{1}}}}, "layers.0.mlp"));
  const ValueId y = g.ops.back().outputs[0];
  g.ops.push_back(make_op(g, {"rms_norm", {y}, {{"eps", 1e-6}}}));
  g.ops.back().phase = Phase::kRecompute;
  g.ops.back().scope = "norm";
  g.outputs.emplace_back("y", y);
  EXPECT_EQ(print(g),
            "%3 = linear(x, up.weight, _) {contract=1} : bf16[batch 4, mlp 6]   # layers.0.mlp\n"
            "%4, %5 = rms_norm(%3, _) {eps=1e-06} : bf16[batch 4, mlp 6], f32[batch 4]   # norm (recompute)\n"
            "output y = %3\n");
}

TEST(Print, untyped_values_scalars_and_lists_are_told_apart) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kNone, {{2, "batch", {}}, {3, "seq", {"dp", "cp"}}, {1, "heads", {}}, {4, "", {}}});
  const ValueId p = g.add_input("positions", DType::kI32, {{2, "batch", {}}, {3, "seq", {}}});
  g.ops.push_back(make_op(g, {"rope", {x, p}, {{"inv_freq", std::vector<double>{1, 0.5}}}}));
  g.ops.push_back(make_op(g, {"sum", {x}}));
  EXPECT_EQ(print(g),
            "%3 = rope(x, positions) {inv_freq=[2 floats]} : [batch 2, seq 3/dp/cp, heads 1, 4]\n"
            "%4 = sum(x) : []\n");
}

TEST(Print, an_op_without_scope_is_marked_as_recomputed_all_the_same) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kF32, {});
  g.ops.push_back(make_op(g, {"add", {x, x}}));
  g.ops.back().phase = Phase::kRecompute;
  EXPECT_EQ(print(g), "%2 = add(x, x) : f32[]   # (recompute)\n");
}

}  // namespace
}  // namespace nemo::graph

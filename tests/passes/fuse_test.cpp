// Patterns become fused rows where the backend has them and nothing else needs what disappears.
#include "core/passes/fuse.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/passes/differentiate.hpp"
#include "core/passes/type.hpp"
#include "tests/passes/draft.hpp"

namespace nemo::passes {
namespace {

using graph::DType;
using graph::Graph;
using graph::ValueId;
using testing::count_ops;
using testing::Draft;
using testing::expect_golden;
using testing::Use;

void everything(Graph& g) {
  fuse(g, [](std::string_view) { return true; });
}

// Two norms on a residual stream.
Draft residual(std::string_view norm) {
  Draft d;
  const ValueId x = d.embedded();
  const auto normed = [&](ValueId v, const std::string& name) {
    return norm == "rms_norm" ? d.op(norm, {v, d.vector(name)}) : d.op(norm, {v, d.vector(name), d.vector(name + ".bias")});
  };
  const ValueId sum = d.op("add", {x, d.linear(normed(x, "first"), "proj", {8, "embed", {}})});
  d.finish(d.op("add", {sum, normed(sum, "second")}), d.table());
  return d;
}

Graph trained(Draft d) {
  differentiate(d.graph, Recompute::kNone);
  return std::move(d.graph);
}

TEST(Fuse, add_and_norm_forward) { expect_golden("fuse_add_norm", residual("rms_norm").graph, everything); }
TEST(Fuse, norm_gradient_and_residual_gradient) { expect_golden("fuse_norm_grad_add", trained(residual("rms_norm")), everything); }
TEST(Fuse, layer_norm_and_its_gradient) { expect_golden("fuse_layer_norm", trained(residual("layer_norm")), everything); }

// Up, activation, down, with biases.
Draft mlp() {
  Draft d;
  const ValueId up = d.biased(d.embedded(), "up", {16, "mlp", {}});
  const ValueId act = d.builder.op("activation", {up}, {{"kind", std::string("gelu_tanh")}})[0];
  d.finish(d.biased(act, "down", {8, "embed", {}}), d.table());
  return d;
}

// Two branches with biases that join the residual stream; after the second the norm's gradient meets the stream's.
Draft biased_branches() {
  Draft d;
  const ValueId x = d.embedded();
  const ValueId sum = d.op("add", {x, d.biased(x, "o", {8, "embed", {}})});
  const auto normed = [&](ValueId v, const std::string& name) { return d.op("layer_norm", {v, d.vector(name), d.vector(name + ".bias")}); };
  const ValueId next = d.op("add", {d.biased(normed(sum, "first"), "down", {8, "embed", {}}), sum});
  d.finish(d.op("add", {next, normed(next, "second")}), d.table());
  return d;
}

TEST(Fuse, the_bias_of_a_branch_goes_with_the_norm_behind_it_and_so_does_its_gradient) {
  expect_golden("fuse_branch_bias", trained(biased_branches()), everything);
}

TEST(Fuse, a_branch_keeps_its_bias_where_its_result_has_another_reader) {
  Draft d;
  const ValueId x = d.embedded();
  const ValueId branch = d.biased(x, "o", {8, "embed", {}});
  d.builder.output("branch", branch);
  const ValueId sum = d.op("add", {x, branch});
  d.finish(d.op("layer_norm", {sum, d.vector("norm"), d.vector("norm.bias")}), d.table());
  everything(d.graph);
  graph::verify(d.graph, "fuse");
  ASSERT_EQ(count_ops(d.graph, "add_layer_norm"), 1);
  const auto fused =
      std::find_if(d.graph.ops.begin(), d.graph.ops.end(), [](const graph::Op& op) { return op.name() == "add_layer_norm"; });
  EXPECT_EQ(fused->inputs[4], 0u);
}

TEST(Fuse, linear_and_activation_forward) { expect_golden("fuse_linear_activation", mlp().graph, everything); }
TEST(Fuse, linear_activation_and_their_gradients) { expect_golden("fuse_linear_activation_train", trained(mlp()), everything); }

TEST(Fuse, an_activation_s_argument_that_is_an_output_survives) {
  Draft d;
  const ValueId up = d.biased(d.embedded(), "up", {8, "mlp", {}});
  d.builder.output("pre", up);
  d.finish(d.builder.op("activation", {up}, {{"kind", std::string("silu")}})[0], d.table());
  everything(d.graph);
  graph::verify(d.graph, "fuse");
  EXPECT_EQ(count_ops(d.graph, "linear_activation"), 1);
}

TEST(Fuse, the_slope_stays_apart_where_the_gradient_before_it_has_another_reader) {
  Draft d;
  const ValueId x = d.embedded();
  const ValueId act = d.builder.op("activation", {x}, {{"kind", std::string("silu")}})[0];
  d.finish(d.op("add", {act, d.linear(act, "proj", {8, "embed", {}})}), d.table());
  Graph g = trained(std::move(d));
  everything(g);
  graph::verify(g, "fuse");
  EXPECT_EQ(count_ops(g, "linear_dgrad_activation"), 0);
  EXPECT_EQ(count_ops(g, "activation_grad"), 1);
}

Draft head() {
  Draft d;
  const ValueId x = d.embedded();
  d.finish(x, d.table());
  return d;
}

TEST(Fuse, linear_and_loss_forward) { expect_golden("fuse_loss", head().graph, everything); }
TEST(Fuse, linear_and_loss_train) { expect_golden("fuse_loss_train", trained(head()), everything); }

TEST(Fuse, nothing_where_the_backend_has_no_row) {
  Graph g = trained(residual("layer_norm"));
  const std::string before = graph::print(g);
  fuse(g, [](std::string_view) { return false; });
  EXPECT_EQ(graph::print(g), before);
}

TEST(Fuse, only_the_rows_that_the_backend_has) {
  Graph g = trained(residual("rms_norm"));
  fuse(g, [](std::string_view op) { return op == "add_rms_norm"; });
  EXPECT_EQ(count_ops(g, "add_rms_norm"), 1);
  EXPECT_EQ(count_ops(g, "rms_norm_grad_add") + count_ops(g, "linear_cross_entropy_train"), 0);
}

TEST(Fuse, the_loss_stays_apart_where_logits_are_an_output) {
  for (const bool train : {false, true}) {
    Draft d;
    const ValueId logits = d.op("linear", {d.embedded(), d.table()});
    d.builder.output("logits", logits);
    d.builder.output("loss", d.op("sum", {d.op("cross_entropy", {logits, d.builder.input("labels")})}));
    if (train) differentiate(d.graph, Recompute::kNone);
    everything(d.graph);
    graph::verify(d.graph, "fuse");
    EXPECT_EQ(count_ops(d.graph, "cross_entropy"), 1);
  }
}

TEST(Fuse, the_loss_stays_apart_where_its_statistic_is_an_output) {
  Draft d;
  const auto loss = d.builder.op("cross_entropy", {d.op("linear", {d.embedded(), d.table()}), d.builder.input("labels")}, {});
  d.builder.output("loss", d.op("sum", {loss[0]}));
  d.builder.output("lse", loss[1]);
  everything(d.graph);
  EXPECT_NO_THROW(graph::verify(d.graph, "fuse"));
  EXPECT_EQ(count_ops(d.graph, "cross_entropy"), 1);
}

TEST(Fuse, the_loss_stays_apart_where_the_table_is_frozen) {
  Draft d;
  const ValueId x = d.linear(d.embedded(), "proj", {8, "embed", {}});
  d.finish(x, d.weight("head", {{16, "vocab", {}}, {8, "embed", {}}}, Use::kFrozen));
  differentiate(d.graph, Recompute::kNone);
  everything(d.graph);
  graph::verify(d.graph, "fuse");
  EXPECT_EQ(count_ops(d.graph, "linear_cross_entropy_train"), 0);
}

TEST(Fuse, the_loss_stays_apart_where_the_head_has_a_bias) {
  Draft d;
  const ValueId logits = d.biased(d.embedded(), "head", {16, "vocab", {}});
  d.builder.output("loss", d.op("sum", {d.op("cross_entropy", {logits, d.builder.input("labels")})}));
  everything(d.graph);
  EXPECT_EQ(count_ops(d.graph, "linear_cross_entropy"), 0);
}

TEST(Fuse, an_output_of_the_sum_survives_the_fusion) {
  Draft d = residual("rms_norm");
  d.builder.output("stream", d.graph.ops[3].outputs[0]);
  ASSERT_EQ(d.graph.ops[3].name(), "add");
  everything(d.graph);
  graph::verify(d.graph, "fuse");
  EXPECT_EQ(count_ops(d.graph, "add_rms_norm"), 1);
}

// Weights that are cast have their gradient cast back between the norm gradient and the add: the fusion must not move it behind that.
TEST(Fuse, a_norm_gradient_is_never_moved_behind_a_reader_of_its_weight_gradient) {
  for (const char* norm : {"rms_norm", "layer_norm"}) {
    Draft d = residual(norm);
    type(d.graph, {DType::kF32, DType::kBF16, DType::kF32, DType::kF32, DType::kF32, nullptr});
    differentiate(d.graph, Recompute::kNone);
    everything(d.graph);
    EXPECT_NO_THROW(graph::verify(d.graph, "fuse"));
  }
}

TEST(Fuse, under_every_recompute_policy_the_graph_stays_in_order) {
  for (const auto recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
    Draft d;
    ValueId x = d.embedded();
    for (int64_t i = 0; i < 2; ++i) {
      d.builder.block_begin("layer", i);
      const ValueId n = d.op("rms_norm", {x, d.vector("norm" + std::to_string(i))});
      x = d.op("add", {x, d.linear(n, "proj" + std::to_string(i), {8, "embed", {}})});
      d.builder.block_end();
    }
    d.finish(d.op("rms_norm", {x, d.vector("final")}), d.table());
    differentiate(d.graph, recompute);
    everything(d.graph);
    EXPECT_NO_THROW(graph::verify(d.graph, "fuse"));
    EXPECT_EQ(count_ops(d.graph, "linear_cross_entropy_train"), 1);
  }
}

TEST(Fuse, linear_and_activation_fuse_within_a_phase_under_every_recompute_policy) {
  for (const auto recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
    Draft d;
    d.builder.block_begin("layer", 0);
    const ValueId up = d.biased(d.embedded(), "up", {16, "mlp", {}});
    const ValueId act = d.builder.op("activation", {up}, {{"kind", std::string("gelu_tanh")}})[0];
    const ValueId down = d.biased(act, "down", {8, "embed", {}});
    d.builder.block_end();
    d.finish(down, d.table());
    differentiate(d.graph, recompute);
    everything(d.graph);
    EXPECT_NO_THROW(graph::verify(d.graph, "fuse"));
    EXPECT_EQ(count_ops(d.graph, "linear_activation"), recompute == Recompute::kFull ? 2 : 1);
    EXPECT_EQ(count_ops(d.graph, "bias_grad"), 1) << "that of up is part of the fused row";
    EXPECT_EQ(count_ops(d.graph, "linear_dgrad_activation"), 1);
  }
}

}  // namespace
}  // namespace nemo::passes

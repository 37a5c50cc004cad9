// A mixture of experts split by expert and by the experts' inner width.
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "core/graph/builder.hpp"
#include "core/passes/differentiate.hpp"
#include "core/passes/partition.hpp"

namespace nemo::passes {
namespace {

using graph::Attrs;
using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::ValueId;

// Router, dispatch, one expert linear up and one down with biases, combine.
Graph mixture() {
  Graph graph;
  graph::Builder b(graph, {2, 8, 32, {}});
  const auto weight = [&](const std::string& name, const Dims& dims) {
    std::vector<nemo_dim> raw;
    for (const graph::Dim& d : dims) raw.push_back({d.size, {d.axis.data(), d.axis.size()}});
    return b.parameter({sizeof(nemo_parameter), 0, {name.data(), name.size()}, raw.data(), raw.size(), NEMO_INIT_NORMAL, 0, 0, 0.02});
  };
  const auto op = [&](std::string_view name, std::vector<ValueId> inputs, Attrs attrs = {}) {
    return b.op(name, std::move(inputs), std::move(attrs));
  };
  const graph::Dim embed{16, "embed", {}}, mlp{12, "mlp", {}}, experts{4, "experts", {}}, routed{4, "", {}};
  const ValueId x = op("embedding", {b.input("tokens"), weight("table", {{32, "vocab", {}}, embed})})[0];
  const auto route = op("moe_route", {op("linear", {x, weight("router", {routed, embed})})[0]}, {{"k", int64_t{2}}});
  const auto rows = op("moe_dispatch", {x, route[1]}, {{"experts", int64_t{4}}});
  const ValueId up = op("grouped_linear", {rows[0], rows[1], weight("up", {experts, mlp, embed}), weight("up_bias", {experts, mlp})})[0];
  const ValueId down = op("grouped_linear", {up, rows[1], weight("down", {experts, embed, mlp}), weight("down_bias", {experts, embed})})[0];
  const ValueId y = op("moe_combine", {down, rows[2], route[0]})[0];
  b.output("loss", op("sum", {y})[0]);
  return graph;
}

std::vector<const Op*> named(const Graph& graph, std::string_view name) {
  std::vector<const Op*> found;
  for (const Op& op : graph.ops)
    if (op.name() == name) found.push_back(&op);
  return found;
}

Graph partitioned(const Plan& plan, const Coordinates& at) {
  Graph graph = mixture();
  partition(graph, plan, at);
  graph::verify(graph, "partition");
  differentiate(graph, Recompute::kNone);
  graph::verify(graph, "differentiate");
  return graph;
}

TEST(PartitionMixture, a_rank_of_split_experts_knows_which_are_its_own_and_rows_are_summed) {
  Plan plan;
  plan.mesh = {{"ep", 2}};
  plan.rules = {{"experts", "ep"}};
  const Graph graph = partitioned(plan, {{"ep", 1}});
  for (const char* name : {"grouped_linear", "grouped_linear_dgrad", "grouped_linear_wgrad", "grouped_bias_grad"}) {
    ASSERT_EQ(named(graph, name).size(), 2u) << name;
    for (const Op* op : named(graph, name)) EXPECT_EQ(op->int_attr("shard_offset"), 2) << name;
  }
  for (const Op* op : named(graph, "grouped_linear")) EXPECT_EQ(graph.value(op->inputs[2]).dims[0].size, 2);
  for (const Op* op : named(graph, "grouped_linear_wgrad")) EXPECT_EQ(op->int_attr("e"), 2);
  EXPECT_TRUE(named(graph, "scale").empty());
  EXPECT_GE(named(graph, "all_reduce").size(), 2u);
}

TEST(PartitionMixture, a_bias_behind_a_split_inner_width_is_added_once) {
  Plan plan;
  plan.mesh = {{"tp", 2}};
  plan.rules = {{"mlp", "tp"}};
  const Graph graph = partitioned(plan, {{"tp", 1}});
  const auto shares = named(graph, "scale");
  ASSERT_FALSE(shares.empty());
  EXPECT_EQ(shares[0]->float_attr("alpha"), 0.5);
  EXPECT_EQ(named(graph, "grouped_linear")[1]->inputs[3], shares[0]->outputs[0]);
  EXPECT_EQ(named(graph, "grouped_linear")[0]->int_attr("shard_offset"), 0);
}

TEST(PartitionMixture, ranks_with_other_tokens_deal_them_by_themselves) {
  Plan plan;
  plan.mesh = {{"dp", 2}};
  plan.rules = {{"batch", "dp"}};
  const Graph graph = partitioned(plan, {});
  const Op& dispatch = *named(graph, "moe_dispatch")[0];
  EXPECT_EQ(graph::element_count(graph.value(dispatch.outputs[0]).dims), 1 * 8 * 2 * 16);
  EXPECT_EQ(graph::element_count(graph.value(dispatch.outputs[1]).dims), 1 * 8 * 2);
}

TEST(Shape, a_letter_that_only_outputs_have_takes_its_size_from_the_attribute) {
  Graph graph;
  graph::Builder b(graph, {2, 8, 32, {}});
  const ValueId logits = graph.add_input("x", graph::DType::kF32, {{2, "batch", {}}, {8, "seq", {}}, {4, "", {}}});
  EXPECT_EQ(graph.value(b.op("moe_route", {logits}, {{"k", int64_t{3}}})[1]).dims.back().size, 3);
  EXPECT_ANY_THROW(b.op("moe_route", {logits}, {}));
  EXPECT_ANY_THROW(b.op("moe_route", {logits}, {{"k", int64_t{0}}}));
}

TEST(Builder, a_field_that_the_data_does_not_have_is_refused_by_name) {
  Graph graph;
  graph::Builder trained(graph, {2, 8, 32, {}, 0, true});
  try {
    (void)trained.input("encoder_tokens");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("encoder_tokens"), std::string::npos);
  }
  graph::Builder compared(graph, {2, 8, 32, {}, 5});
  EXPECT_EQ(graph.value(compared.input("encoder_tokens")).dims[1].size, 5);
  EXPECT_EQ(graph.value(compared.input("lengths")).dims.size(), 1u);
}

}  // namespace
}  // namespace nemo::passes

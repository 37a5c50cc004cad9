// Sibling linears become one over weights side by side, unless something tells them apart.
#include "core/passes/group.hpp"

#include <gtest/gtest.h>

#include "core/passes/layout.hpp"
#include "tests/passes/draft.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using graph::ValueId;
using testing::count_ops;
using testing::Draft;
using testing::expect_golden;
using testing::Use;

const graph::Dim kMlp{6, "mlp", {}};

// q, k, v with two heads for q and one for k and v.
Graph attention(bool with_bias) {
  Draft d;
  const ValueId x = d.embedded();
  d.builder.scope_push("attention");
  const auto project = [&](const std::string& name, int64_t heads) {
    const graph::Dims dims{{heads, "heads", {}}, {4, "head_dim", {}}, {8, "embed", {}}};
    const ValueId w = d.weight(name + ".weight", dims);
    return d.op("linear", {x, w, with_bias ? d.weight(name + ".bias", {dims[0], dims[1]}) : 0});
  };
  const ValueId q = project("q", 2), k = project("k", 1), v = project("v", 1);
  const ValueId o = d.op("attention", {q, k, v}, {{"scale", 0.5}});
  d.builder.scope_pop();
  const ValueId down = d.weight("o.weight", {{8, "embed", {}}, {2, "heads", {}}, {4, "head_dim", {}}});
  d.finish(d.op("linear", {o, down}, {{"contract", int64_t{2}}}), d.table());
  return std::move(d.graph);
}

Graph gated(Use gate, Use up) {
  Draft d;
  const ValueId x = d.embedded();
  const ValueId g = d.linear(x, "gate", kMlp, gate), u = d.linear(x, "up", kMlp, up);
  d.finish(d.linear(d.op("glu", {g, u}), "down", {8, "embed", {}}), d.table());
  return std::move(d.graph);
}

TEST(Group, q_k_v_without_bias) { expect_golden("group_qkv", attention(false), group); }
TEST(Group, q_k_v_with_bias) { expect_golden("group_qkv_bias", attention(true), group); }
TEST(Group, gate_and_up) { expect_golden("group_gate_up", gated(Use::kTrained, Use::kTrained), group); }

// How many linears are left of two siblings and their successor.
int64_t linears_after(Graph graph) {
  group(graph);
  graph::verify(graph, "group");
  return count_ops(graph, "linear");
}

TEST(Group, weights_trained_or_decayed_differently_stay_apart) {
  EXPECT_EQ(linears_after(gated(Use::kTrained, Use::kTrained)), 3);
  EXPECT_EQ(linears_after(gated(Use::kFrozen, Use::kTrained)), 4);
  EXPECT_EQ(linears_after(gated(Use::kTrained, Use::kNoDecay)), 4);
  EXPECT_EQ(linears_after(gated(Use::kFrozen, Use::kFrozen)), 3);
}

TEST(Group, biases_trained_or_decayed_differently_keep_their_linears_apart) {
  for (const Use other : {Use::kFrozen, Use::kNoDecay, Use::kTrained}) {
    Draft d;
    const ValueId x = d.embedded();
    const auto project = [&](const std::string& name, Use use) {
      return d.op("linear", {x, d.weight(name + ".weight", {kMlp, {8, "embed", {}}}), d.weight(name + ".bias", {kMlp}, use)});
    };
    const ValueId g = project("gate", Use::kTrained), u = project("up", other);
    d.finish(d.linear(d.op("glu", {g, u}), "down", {8, "embed", {}}), d.table());
    EXPECT_EQ(linears_after(std::move(d.graph)), other == Use::kTrained ? 3 : 4);
  }
}

TEST(Group, shared_weights_stay_apart) {
  Draft d;
  const ValueId x = d.embedded(), w = d.weight("shared", {kMlp, {8, "embed", {}}});
  const ValueId y = d.op("glu", {d.op("linear", {x, w}), d.op("linear", {x, w})});
  d.finish(d.linear(y, "down", {8, "embed", {}}), d.table());
  EXPECT_EQ(linears_after(std::move(d.graph)), 4);
}

TEST(Group, linears_of_different_blocks_stay_apart) {
  Draft d;
  const ValueId x = d.embedded();
  d.builder.block_begin("layer", 0);
  const ValueId g = d.linear(x, "gate", kMlp);
  d.builder.block_end();
  d.builder.block_begin("layer", 1);
  const ValueId u = d.linear(x, "up", kMlp);
  d.builder.block_end();
  d.finish(d.linear(d.op("glu", {g, u}), "down", {8, "embed", {}}), d.table());
  EXPECT_EQ(linears_after(std::move(d.graph)), 4);
}

TEST(Group, one_with_and_one_without_bias_stay_apart) {
  Draft d;
  const ValueId x = d.embedded();
  d.finish(d.linear(d.op("glu", {d.biased(x, "gate", kMlp), d.linear(x, "up", kMlp)}), "down", {8, "embed", {}}), d.table());
  EXPECT_EQ(linears_after(std::move(d.graph)), 4);
}

TEST(Group, an_odd_first_sibling_does_not_keep_the_others_apart) {
  Draft d;
  const ValueId x = d.embedded();
  const ValueId a = d.linear(x, "odd", kMlp, Use::kFrozen);
  const ValueId y = d.op("glu", {d.linear(x, "gate", kMlp), d.linear(x, "up", kMlp)});
  d.finish(d.linear(d.op("add", {a, y}), "down", {8, "embed", {}}), d.table());
  EXPECT_EQ(linears_after(std::move(d.graph)), 4) << "odd, gate|up, down, head";
}

TEST(Group, members_lie_side_by_side_in_the_order_of_the_joined_rows) {
  Graph g = attention(true);
  group(g);
  const FlatLayout flat = layout(g);
  for (const graph::Value& v : g.values)
    for (size_t m = 1; v.kind == graph::ValueKind::kParameter && m < v.members.size(); ++m)
      EXPECT_EQ(flat.offset[v.members[m]], flat.offset[v.members[m - 1]] + element_count(g.parameters[v.members[m - 1]].dims)) << v.name;
}

}  // namespace
}  // namespace nemo::passes

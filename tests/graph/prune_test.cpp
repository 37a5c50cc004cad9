#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/graph/graph.hpp"
#include "tests/graph/declare.hpp"

namespace nemo::graph {
namespace {

using ::testing::ElementsAre;

struct Chain {
  Graph graph;
  ValueId x, kept, dead, metric;
  Chain() {
    x = graph.add_input("x", DType::kF32, {{4, "embed", {}}});
    kept = append({"add", {x, x}});
    dead = append({"mul", {kept, x}});
    static_cast<void>(append({"mul", {dead, x}}));
    metric = append({"scale", {kept}, {{"alpha", 2.0}}});
    graph.outputs = {{"loss", kept}, {"metric", metric}};
  }
  ValueId append(OpRequest request) {
    graph.ops.push_back(make_op(graph, std::move(request)));
    return graph.ops.back().outputs[0];
  }
  [[nodiscard]] std::vector<std::string> ops() const {
    std::vector<std::string> names;
    for (const Op& op : graph.ops) names.emplace_back(op.name());
    return names;
  }
};

TEST(Prune, drops_chains_that_reach_nothing_and_keeps_the_order_of_the_rest) {
  Chain c;
  prune(c.graph);
  EXPECT_THAT(c.ops(), ElementsAre("add", "scale"));
}

TEST(Prune, drops_outputs_that_are_not_asked_for_with_what_only_they_need) {
  Chain c;
  prune(c.graph, {"loss"});
  EXPECT_THAT(c.ops(), ElementsAre("add"));
  ASSERT_EQ(c.graph.outputs.size(), 1u);
  EXPECT_EQ(c.graph.outputs[0].first, "loss");
}

TEST(Prune, keeps_writers_of_gradient_buffers_and_what_they_read) {
  Chain c;
  const ValueId w = nemo::testing::declare_parameter(c.graph, "w", {{4, "embed", {}}}, DType::kF32);
  c.graph.ops.push_back(make_op(c.graph, {"accumulate_grad", {c.dead}, {}, {c.graph.gradient_of(w)}}));
  prune(c.graph);
  EXPECT_THAT(c.ops(), ElementsAre("add", "mul", "scale", "accumulate_grad"));
}

TEST(Prune, is_idempotent) {
  Chain c;
  prune(c.graph);
  const std::string once = print(c.graph);
  prune(c.graph);
  EXPECT_EQ(print(c.graph), once);
}

TEST(Graph, a_parameter_has_one_gradient_buffer_in_the_gradients_dtype) {
  Graph graph;
  graph.gradient_dtype = DType::kF32;
  const ValueId w = nemo::testing::declare_parameter(graph, "w", {{4, "embed", {}}}, DType::kBF16);
  const ValueId buffer = graph.gradient_of(w);
  EXPECT_EQ(graph.gradient_of(w), buffer);
  EXPECT_EQ(graph.value(buffer).name, "grad:w");
  EXPECT_EQ(graph.value(buffer).dtype, DType::kF32);
  EXPECT_EQ(graph.value(buffer).members, graph.value(w).members);
}

TEST(Graph, uses_tell_the_producer_and_every_reader) {
  const Chain c;
  const Uses uses = analyse_uses(c.graph);
  EXPECT_EQ(uses.producer[c.x], -1);
  EXPECT_EQ(uses.producer[c.kept], 0);
  EXPECT_THAT(uses.readers[c.kept], ElementsAre(1, 3));
  EXPECT_THAT(uses.readers[c.x], ElementsAre(0, 0, 1, 2));
}

TEST(DType, names_and_sizes_round_trip) {
  for (int32_t i = 1; i <= 9; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
    EXPECT_GT(size_of(dtype), 0);
  }
  EXPECT_ANY_THROW(static_cast<void>(parse_dtype("float32")));
}

}  // namespace
}  // namespace nemo::graph

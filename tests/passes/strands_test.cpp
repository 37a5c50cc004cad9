// A micro-batch in two halves that take turns.
#include "core/passes/strands.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/passes/compile.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::DType;
using graph::Graph;
using graph::Op;
using graph::ValueId;
using graph::ValueKind;

Plan with_turns(Plan plan) {
  plan.take_turns = true;
  return plan;
}

Plan context_parallel(const char* method) {
  Plan plan{{{"cp", 2}}, {{"seq", "cp"}}, "", ""};
  plan.context = method;
  return plan;
}

Compiled compiled(const Graph& model, const Plan& plan, Coordinates coordinates = {}) {
  CompileOptions options;
  options.precision = {DType::kBF16, DType::kBF16, DType::kF32, DType::kF32, DType::kF32, nullptr};
  options.supports = [](std::string_view) { return true; };
  options.plan = plan;
  options.coordinates = std::move(coordinates);
  return compile(model, Purpose::kTrain, options);
}

bool is_split(const Graph& graph) { return graph.find_input("tokens#0") != 0 && graph.find_input("tokens#1") != 0; }

std::map<std::string, int> count_of(const Graph& graph) {
  std::map<std::string, int> n;
  for (const Op& op : graph.ops) ++n[std::string(op.name()) + " " + op.scope];
  return n;
}

TEST(Strands, each_op_is_there_once_for_each_half) {
  const Graph whole = compiled(testing::llama(), testing::sequence_parallel(2)).graph;
  const Graph halves = compiled(testing::llama(), with_turns(testing::sequence_parallel(2))).graph;
  ASSERT_TRUE(is_split(halves));
  std::map<std::string, int> twice = count_of(whole);
  for (auto& [name, n] : twice) n *= 2;
  ++twice["add "];  // of the halves' losses
  EXPECT_EQ(count_of(halves), twice);
}

TEST(Strands, halves_of_a_field_are_read_where_it_lies) {
  const Compiled c = compiled(testing::llama({.batch = 4, .seq = 6}), with_turns(testing::sequence_parallel(2)));
  const Placement &whole = c.memory.placements[c.graph.find_input("labels")], &first = c.memory.placements[c.graph.find_input("labels#0")],
                  &second = c.memory.placements[c.graph.find_input("labels#1")];
  EXPECT_EQ(first.region, Region::kInputs);
  EXPECT_EQ(first.offset, whole.offset);
  EXPECT_EQ(second.offset, whole.offset + 2 * 6 * 4);
}

TEST(Strands, what_cannot_be_halved_is_computed_whole) {
  const Plan plan = with_turns(testing::sequence_parallel(2));
  EXPECT_FALSE(is_split(compiled(testing::llama({.batch = 3}), plan).graph)) << "an odd number of sequences";
  EXPECT_FALSE(is_split(compiled(testing::llama(), with_turns({})).graph)) << "no collectives";
  EXPECT_FALSE(is_split(compiled(testing::llama(), with_turns(testing::data_parallel(2))).graph)) << "no collectives but of gradients";
  EXPECT_FALSE(is_split(compiled(testing::llama(), with_turns(testing::fully_sharded_sequence_parallel(2, 2))).graph)) << "ZeRO-3";
  EXPECT_FALSE(is_split(compiled(testing::llama(), testing::sequence_parallel(2)).graph)) << "not asked for";
}

// Ranks of causal context parallelism have unequal work; were collectives ordered by it, they would wait for each other forever.
TEST(Strands, collectives_have_one_order_on_all_ranks) {
  for (const char* method : {"all_gather", "a2a", "p2p"}) {
    const auto order = [&](int64_t rank) {
      const Graph g = compiled(testing::llama({.layers = 3, .seq = 32}), with_turns(context_parallel(method)), {{"cp", rank}}).graph;
      EXPECT_TRUE(is_split(g)) << method;
      std::vector<std::string> names;
      for (const Op& op : g.ops)
        if (communicates(op))
          names.push_back(std::string(op.name()) + " " + op.scope + std::to_string(element_count(g.value(op.inputs[0]).dims)));
      return names;
    };
    EXPECT_EQ(order(0), order(1)) << method;
  }
}

// Under the collectives of one half there is work of the other.
TEST(Strands, forward_collectives_have_a_product_of_the_other_half_beside_them) {
  const Compiled c = compiled(testing::llama({.layers = 4}), with_turns(testing::sequence_parallel(2)));
  int covered = 0, bare = 0;
  for (size_t i = 0; i < c.graph.ops.size(); ++i) {
    if (c.graph.ops[i].name() != "reduce_scatter" || c.graph.ops[i].phase != graph::Phase::kForward) continue;
    bool product = false;
    for (size_t j = i; j < static_cast<size_t>(c.streams.joined[i]) && c.streams.stream[i] == 1; ++j)
      product = product || c.graph.ops[j].name().starts_with("linear");
    ++(product ? covered : bare);
  }
  EXPECT_GE(covered, 2 * 2 * 4 - 1) << bare << " without";
}

}  // namespace
}  // namespace nemo::passes

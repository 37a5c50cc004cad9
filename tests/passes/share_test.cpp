// Programs of ranks that share state out: when units are whole, and where their gradients go.
#include "core/passes/share.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/passes/compile.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using graph::Op;
using graph::ValueId;
using graph::ValueKind;
using testing::gpt;
using testing::llama;

constexpr testing::ModelSize kDeep{.layers = 6};

Compiled compiled(const Graph& model, const Plan& plan) {
  CompileOptions options;
  options.precision = {graph::DType::kBF16, graph::DType::kBF16, graph::DType::kF32, graph::DType::kF32, graph::DType::kF32, nullptr};
  options.supports = [](std::string_view) { return true; };
  options.plan = plan;
  return compile(model, Purpose::kTrain, options);
}

Plan shared_gradients(int64_t size) {
  Plan plan = testing::data_parallel(size);
  plan.shard_gradients = "dp";
  return plan;
}

bool is_parameter(const Graph& graph, ValueId v) { return v != 0 && graph.value(v).kind == ValueKind::kParameter; }

// Positions of the ops of that name whose scope is of that kind ("gather", "reduce"), by unit scope.
std::map<std::string, std::vector<size_t>> by_unit(const Graph& graph, std::string_view name) {
  std::map<std::string, std::vector<size_t>> at;
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (graph.ops[i].name() == name && graph.ops[i].scope.starts_with("unit.")) at[graph.ops[i].scope].push_back(i);
  return at;
}

// The op that gathers each whole unit.
std::map<ValueId, size_t> gathers_of(const Graph& graph) {
  std::map<ValueId, size_t> at;
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (graph.ops[i].name() == "all_gather") at[graph.ops[i].outputs[0]] = i;
  return at;
}

// Where something reads a whole unit, by its gather.
std::map<ValueId, std::vector<size_t>> readers_of(const Graph& graph) {
  std::map<ValueId, std::vector<size_t>> at;
  for (size_t i = 0; i < graph.ops.size(); ++i)
    for (const ValueId v : graph.ops[i].inputs)
      if (is_parameter(graph, v) && graph.ops[i].name() != "all_gather") at[graph.value(v).home].push_back(i);
  return at;
}

TEST(Share, every_parameter_is_read_out_of_a_unit_gathered_before) {
  for (auto* model : {gpt, llama}) {
    const Graph graph = compiled(model(kDeep), testing::fully_sharded(4)).graph;
    const auto gathers = gathers_of(graph);
    const auto readers = readers_of(graph);
    EXPECT_EQ(readers.size(), gathers.size()) << "a gather that nothing reads, or a read of what was not gathered";
    for (const auto& [whole, at] : readers) {
      ASSERT_TRUE(gathers.contains(whole));
      EXPECT_LT(gathers.at(whole), at.front());
    }
  }
}

TEST(Share, gathers_run_under_the_work_of_the_block_before) {
  const Graph graph = compiled(llama(kDeep), testing::fully_sharded(4)).graph;
  const auto readers = readers_of(graph);
  for (const auto& [whole, at] : gathers_of(graph)) {
    const Op& reader = graph.ops[readers.at(whole).front()];
    size_t next = at;
    while (graph.ops[next].scope.starts_with("unit.")) ++next;
    EXPECT_EQ(graph.ops[at].stream, 1);
    if (reader.block < 0) continue;
    EXPECT_LT(next, readers.at(whole).front()) << reader.scope;
    EXPECT_NE(graph.ops[next].block, reader.block) << reader.scope;
  }
}

TEST(Share, a_block_is_gathered_for_forward_and_again_for_backward_or_kept) {
  Plan plan = testing::fully_sharded(4);
  for (const bool keep : {false, true}) {
    plan.keep_gathered = keep;
    const Graph graph = compiled(llama(kDeep), plan).graph;
    const auto readers = readers_of(graph);
    std::map<int32_t, int> times;
    for (const auto& [whole, at] : readers) ++times[graph.ops[at.front()].block];
    for (int32_t block = 0; block < 5; ++block) EXPECT_EQ(times[block], keep ? 1 : 2) << block;
    EXPECT_EQ(times[5], 1) << "backward of the last block follows its forward at once";
  }
}

TEST(Share, tied_table_is_gathered_again_for_the_output_layer) {
  const Compiled c = compiled(gpt(kDeep), testing::fully_sharded(4));
  std::set<ValueId> wholes;
  for (const Op& op : c.graph.ops)
    for (const ValueId v : op.inputs)
      if (is_parameter(c.graph, v) && !c.graph.value(v).members.empty() &&
          c.graph.parameters[c.graph.value(v).members[0]].name == "embedding.word.weight")
        wholes.insert(c.graph.value(v).home);
  EXPECT_EQ(wholes.size(), 2u);
}

TEST(Share, gradients_of_a_unit_are_summed_once_behind_their_last_writer) {
  for (auto* model : {gpt, llama})
    for (const Plan& plan : {shared_gradients(2), testing::fully_sharded(4)}) {
      const Compiled c = compiled(model(kDeep), plan);
      const auto reduces = by_unit(c.graph, "reduce_scatter");
      EXPECT_EQ(reduces.size(), c.layout.units.size());
      std::map<ValueId, size_t> last;
      for (size_t i = 0; i < c.graph.ops.size(); ++i)
        for (const ValueId v : c.graph.ops[i].outputs)
          if (v != 0 && c.graph.value(v).home != 0) last[c.graph.value(v).home] = i;
      EXPECT_EQ(last.size(), reduces.size());
      for (const auto& [scope, at] : reduces) {
        ASSERT_EQ(at.size(), 1u) << scope;
        const Op &reduce = c.graph.ops[at[0]], &add = c.graph.ops[at[0] + 1];
        ASSERT_TRUE(last.contains(reduce.inputs[0])) << scope;
        EXPECT_GT(at[0], last.at(reduce.inputs[0])) << scope;
        EXPECT_EQ(add.name(), "accumulate_grad");
        EXPECT_EQ(c.graph.value(add.outputs[0]).kind, ValueKind::kGradient);
        EXPECT_EQ(add.inputs[0], reduce.outputs[0]);
      }
    }
}

TEST(Share, of_gradients_leaves_parameters_whole) {
  const Graph graph = compiled(llama(kDeep), shared_gradients(2)).graph;
  EXPECT_TRUE(gathers_of(graph).empty());
  for (const auto& [home, at] : readers_of(graph)) EXPECT_EQ(home, 0u);
}

TEST(Share, of_less_than_gradients_or_among_one_rank_changes_nothing) {
  Plan optimizer = testing::data_parallel(2);
  optimizer.shard_optimizer = "dp";
  const std::string plain = graph::print(compiled(llama(kDeep), testing::data_parallel(2)).graph);
  EXPECT_EQ(graph::print(compiled(llama(kDeep), optimizer).graph), plain);
  EXPECT_EQ(graph::print(compiled(llama(kDeep), testing::fully_sharded(1)).graph), graph::print(compiled(llama(kDeep), Plan{}).graph));
}

}  // namespace
}  // namespace nemo::passes

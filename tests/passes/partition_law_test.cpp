// Counts and invariants of partitioned graphs.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/graph/shape.hpp"
#include "core/passes/differentiate.hpp"
#include "core/passes/partition.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using graph::Op;
using graph::Parameter;
using graph::ValueId;
using testing::gpt;
using testing::llama;
using testing::ModelSize;
using Counts = std::map<std::string, int64_t>;

Graph partitioned(Graph graph, const Plan& plan, const Coordinates& at = {}) {
  partition(graph, plan, at);
  graph::verify(graph, "partition");
  return graph;
}

bool is_collective(const Op& op) { return op.row->attribute("mesh") != nullptr; }

// Collectives of a block (-1: outside blocks).
Counts collectives(const Graph& graph, int32_t block) {
  Counts counts;
  for (const Op& op : graph.ops)
    if (is_collective(op) && op.block == block) ++counts[std::string(op.name())];
  return counts;
}

const Parameter& parameter(const Graph& graph, const std::string& name) {
  return *std::find_if(graph.parameters.begin(), graph.parameters.end(), [&](const Parameter& p) { return p.name == name; });
}

// Sizes and mesh axes without axis names, which letters need not share (table rows: "vocab" or "positions").
std::vector<std::pair<int64_t, std::vector<std::string>>> splits(const graph::Dims& dims) {
  std::vector<std::pair<int64_t, std::vector<std::string>>> out;
  for (const graph::Dim& d : dims) out.emplace_back(d.size, d.mesh);
  return out;
}

TEST(Partition, tensor_parallel_layer_has_two_copy_to_and_two_all_reduce) {
  for (auto* model : {gpt, llama}) {
    const Graph graph = partitioned(model({}), testing::tensor_parallel(2));
    for (const int32_t layer : {0, 1}) EXPECT_EQ(collectives(graph, layer), (Counts{{"copy_to", 2}, {"all_reduce", 2}}));
    // Embedding; maximum, sum of exponentials and target of the loss; input of the output layer.
    EXPECT_EQ(collectives(graph, -1), (Counts{{"all_reduce", 1 + 3}, {"copy_to", 1}}));
  }
}

TEST(Partition, sequence_parallel_layer_has_two_all_gather_and_two_reduce_scatter) {
  for (auto* model : {gpt, llama}) {
    const Graph graph = partitioned(model({}), testing::sequence_parallel(2));
    for (const int32_t layer : {0, 1}) EXPECT_EQ(collectives(graph, layer), (Counts{{"all_gather", 2}, {"reduce_scatter", 2}}));
    EXPECT_EQ(collectives(graph, -1), (Counts{{"reduce_scatter", 1}, {"all_gather", 1}, {"all_reduce", 3}}));
  }
}

TEST(Partition, sequence_parallel_norms_and_row_parallel_biases_have_partial_gradients) {
  const Graph graph = partitioned(gpt({}), testing::sequence_parallel(2));
  const std::vector<std::string> tp{"tp"};
  for (const char* name : {"layers.0.input_norm.weight", "layers.1.post_attention_norm.bias", "final_norm.weight",
                           "layers.0.attention.o.bias", "layers.1.mlp.down.bias"})
    EXPECT_EQ(parameter(graph, name).gradient_partial, tp) << name;
  for (const char* name : {"embedding.word.weight", "layers.0.attention.q.weight", "layers.0.attention.q.bias", "layers.1.mlp.down.weight"})
    EXPECT_TRUE(parameter(graph, name).gradient_partial.empty()) << name;
}

// Without the vocabulary, whose loss is not part of what is counted.
Plan layers_only(Plan plan) {
  std::erase_if(plan.rules, [](const auto& rule) { return rule.first == "vocab"; });
  return plan;
}

Counts backward_collectives(Graph graph, int32_t block) {
  differentiate(graph, Recompute::kNone);
  graph::verify(graph, "differentiate");
  Counts counts;
  for (const Op& op : graph.ops)
    if (is_collective(op) && op.block == block && op.phase == graph::Phase::kBackward) ++counts[std::string(op.name())];
  return counts;
}

TEST(Partition, gradients_of_a_layer_communicate_as_its_forward_does) {
  for (auto* model : {gpt, llama}) {
    EXPECT_EQ(backward_collectives(partitioned(model({}), layers_only(testing::tensor_parallel(2))), 1), (Counts{{"all_reduce", 2}}));
    EXPECT_EQ(backward_collectives(partitioned(model({}), layers_only(testing::sequence_parallel(2))), 1),
              (Counts{{"all_gather", 2}, {"reduce_scatter", 2}}));
    EXPECT_EQ(backward_collectives(partitioned(model({}), testing::data_parallel(2)), 1), Counts{});
  }
}

TEST(Partition, data_parallel_has_no_collective_but_that_of_the_loss) {
  for (auto* model : {gpt, llama}) {
    const Graph graph = partitioned(model({}), testing::data_parallel(2));
    for (const int32_t layer : {0, 1}) EXPECT_EQ(collectives(graph, layer), Counts{});
    EXPECT_EQ(collectives(graph, -1), (Counts{{"all_reduce", 1}}));
    for (const Parameter& p : graph.parameters) EXPECT_EQ(p.gradient_partial, std::vector<std::string>{"dp"}) << p.name;
  }
}

// Whose parameters and gradients are whole when is the matter of pass "share".
TEST(Partition, shared_out_state_is_no_matter_of_the_partition) {
  for (auto* model : {gpt, llama}) {
    Plan plan = testing::fully_sharded(4);
    const Graph shared = partitioned(model({}), plan);
    plan.shard_parameters.clear();
    EXPECT_EQ(graph::print(shared), graph::print(partitioned(model({}), plan)));
    for (const Parameter& p : shared.parameters) EXPECT_EQ(p.dims, p.global_dims) << p.name;
  }
}

TEST(Partition, plan_of_one_rank_leaves_the_graph_unchanged) {
  const Graph whole = llama({});
  for (const Plan& plan : {Plan{}, testing::sequence_parallel(1), testing::fully_sharded(1)}) {
    const Graph graph = partitioned(whole, plan);
    EXPECT_EQ(graph::print(graph), graph::print(whole));
    EXPECT_EQ(graph.values.size(), whole.values.size());
    for (const Parameter& p : graph.parameters) EXPECT_EQ(p.dims, p.global_dims);
  }
}

TEST(Partition, letters_of_an_op_are_split_alike_on_all_its_tensors) {
  for (const Plan& plan : {testing::tensor_parallel(2), testing::sequence_parallel(2), testing::data_and_tensor_parallel(2, 2),
                           testing::fully_sharded_sequence_parallel(2, 2)}) {
    const Graph graph = partitioned(gpt({}), plan);
    for (const Op& op : graph.ops) {
      const graph::Factors factors = graph::bind_factors(graph, op);
      for (size_t i = 0; i < op.inputs.size(); ++i)
        if (op.inputs[i] != 0) {
          EXPECT_EQ(splits(graph::dims_of(op.row->inputs[i], factors, nullptr)), splits(graph.value(op.inputs[i]).dims))
              << op.name() << " " << op.scope;
        }
      for (size_t o = 0; o < op.outputs.size(); ++o) {
        std::string missing;
        const graph::Dims dims = graph::dims_of(op.row->outputs[o], factors, &missing);
        if (op.outputs[o] == 0 || !missing.empty()) continue;
        EXPECT_EQ(splits(dims), splits(graph.value(op.outputs[o]).dims)) << op.name() << " " << op.scope;
      }
    }
  }
}

TEST(Partition, rank_coordinates_set_vocabulary_offset_and_slices) {
  const Graph graph = partitioned(gpt({}), testing::sequence_parallel(2), {{"tp", 1}});
  int checked = 0;
  for (const Op& op : graph.ops) {
    if (op.attrs.contains("shard_offset")) {
      EXPECT_EQ(op.int_attr("shard_offset"), 4);
      ++checked;
    }
    if (op.name() == "slice") {
      EXPECT_EQ(op.int_attr("start"), 2);
      ++checked;
    }
  }
  EXPECT_EQ(checked, 3);
}

TEST(Partition, frozen_parameters_need_no_copy_to) {
  Graph whole = llama({});
  for (Parameter& p : whole.parameters) p.trainable = p.block == 1;
  const Graph graph = partitioned(whole, testing::tensor_parallel(2));
  EXPECT_EQ(collectives(graph, 0), (Counts{{"all_reduce", 2}}));
  EXPECT_EQ(collectives(graph, 1), (Counts{{"copy_to", 2}, {"all_reduce", 2}}));
}

TEST(Partition, ops_and_values_grow_by_the_same_count_per_layer) {
  for (const Plan& plan : {testing::sequence_parallel(8), testing::fully_sharded_sequence_parallel(2, 8)}) {
    const auto size = [&](int64_t layers) {
      const Graph graph =
          partitioned(llama({.layers = layers, .batch = 2, .seq = 8, .embed = 16, .heads = 8, .kv_heads = 8, .mlp = 16, .vocab = 8}), plan);
      return std::pair(graph.ops.size(), graph.values.size());
    };
    const auto [ops2, values2] = size(2);
    const auto [ops3, values3] = size(3);
    const auto [ops126, values126] = size(126);
    EXPECT_EQ(ops126 - ops2, 124 * (ops3 - ops2));
    EXPECT_EQ(values126 - values2, 124 * (values3 - values2));
  }
}

}  // namespace
}  // namespace nemo::passes

// What the partition pass refuses, and what it says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "core/passes/partition.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::llama;
using testing::ModelSize;

// Partitions, expects an error of that code, checks that the graph is as it was, and returns the message.
std::string refusal(const Graph& model, const Plan& plan, Code code) {
  Graph graph = model;
  try {
    partition(graph, plan);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(graph::print(graph), graph::print(model));
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(PartitionErrors, indivisible_heads_name_parameter_axis_sizes_and_setting) {
  EXPECT_THAT(refusal(llama({.embed = 12, .heads = 6, .kv_heads = 2}), testing::tensor_parallel(4), Code::kConfig),
              AllOf(HasSubstr("parameter 'layers.0.attention.q.weight'"), HasSubstr("axis 'heads' of size 6"),
                    HasSubstr("mesh axis 'tp' of size 4"), HasSubstr("num_attention_heads")));
}

TEST(PartitionErrors, indivisible_kv_heads_name_num_query_groups) {
  EXPECT_THAT(refusal(llama({}), testing::tensor_parallel(4), Code::kConfig),
              AllOf(HasSubstr("axis 'kv_heads' of size 2"), HasSubstr("num_query_groups")));
  Plan plan = testing::tensor_parallel(4);
  std::erase_if(plan.rules, [](const auto& rule) { return rule.first == "kv_heads"; });
  EXPECT_THAT(refusal(llama({}), plan, Code::kConfig),
              AllOf(HasSubstr("layers.0.attention: op 'attention', input 'k'"), HasSubstr("num_query_groups")));
}

TEST(PartitionErrors, indivisible_sequence_and_batch_name_the_setting) {
  EXPECT_THAT(refusal(llama({.seq = 5}), testing::sequence_parallel(2), Code::kConfig),
              AllOf(HasSubstr("axis 'seq' of size 5"), HasSubstr("seq_length")));
  EXPECT_THAT(refusal(llama({.batch = 3}), testing::data_parallel(2), Code::kConfig),
              AllOf(HasSubstr("input 'tokens'"), HasSubstr("axis 'batch' of size 3")));
}

TEST(PartitionErrors, rule_for_an_unknown_axis_suggests_the_nearest) {
  Plan plan = testing::tensor_parallel(2);
  plan.rules.emplace_back("haeds", "tp");
  EXPECT_THAT(refusal(llama({}), plan, Code::kConfig), AllOf(HasSubstr("'haeds -> tp'"), HasSubstr("did you mean 'heads'")));
}

TEST(PartitionErrors, rule_for_a_known_axis_that_the_model_lacks_is_allowed) {
  Plan plan = testing::tensor_parallel(2);
  plan.rules.emplace_back("experts", "tp");
  Graph graph = llama({});
  EXPECT_NO_THROW(partition(graph, plan));
}

TEST(PartitionErrors, rule_for_an_unknown_mesh_axis_lists_the_mesh) {
  Plan plan = testing::data_and_tensor_parallel(2, 2);
  plan.rules.emplace_back("seq", "tq");
  EXPECT_THAT(refusal(llama({}), plan, Code::kConfig), AllOf(HasSubstr("'seq -> tq'"), HasSubstr("it has: dp, tp")));
  plan.rules.pop_back();
  plan.shard_parameters = "fsdp";
  EXPECT_THAT(refusal(llama({}), plan, Code::kConfig), HasSubstr("state shared out: the device mesh has no axis 'fsdp'"));
}

TEST(PartitionErrors, axis_word_of_the_model_that_nobody_knows_is_refused) {
  Graph graph;
  const graph::ValueId x = graph.add_input("tokens", graph::DType::kNone, {{4, "batch", {}}, {8, "embbed", {}}});
  graph.outputs.emplace_back("x", x);
  EXPECT_THAT(refusal(graph, testing::data_parallel(2), Code::kInvalidArgument),
              AllOf(HasSubstr("'embbed' of 'tokens'"), HasSubstr("did you mean 'embed'")));
}

TEST(PartitionErrors, sharded_parameters_without_a_split_batch_are_refused) {
  Plan plan = testing::fully_sharded(4);
  plan.rules.clear();
  EXPECT_THAT(refusal(llama({}), plan, Code::kConfig), AllOf(HasSubstr("embedding.word.weight"), HasSubstr("'batch -> fsdp'")));
}

TEST(PartitionErrors, label_smoothing_over_a_split_vocabulary_is_unsupported) {
  EXPECT_THAT(refusal(llama({.label_smoothing = 0.1}), testing::tensor_parallel(2), Code::kUnsupported),
              AllOf(HasSubstr("label_smoothing"), HasSubstr("cross_entropy")));
}

TEST(PartitionErrors, whole_letter_that_only_gathering_alike_could_serve_is_unsupported) {
  testing::Draft d;
  const graph::ValueId x = d.embedded(), w = d.weight("conv.weight", {{8, "embed", {}}, {2, "", {}}});
  d.finish(d.op("causal_conv1d", {x, w}), d.table());
  const Plan plan{{{"cp", 2}}, {{"seq", "cp"}}, "", ""};
  EXPECT_THAT(refusal(d.graph, plan, Code::kUnsupported),
              AllOf(HasSubstr("op 'causal_conv1d'"), HasSubstr("axis 'seq'"), HasSubstr("'cp'")));
}

TEST(PartitionErrors, coordinate_outside_the_mesh_is_refused) {
  Graph graph = llama({});
  EXPECT_THROW(partition(graph, testing::tensor_parallel(2), {{"tp", 2}}), Error);
}

}  // namespace
}  // namespace nemo::passes

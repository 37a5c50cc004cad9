// Heads with linear biases, split over ranks.
#include <gmock/gmock.h>

#include "core/base/error.hpp"
#include "core/passes/differentiate.hpp"
#include "core/passes/partition.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using graph::Op;

Graph biased() {
  Graph graph = testing::llama({});
  for (Op& op : graph.ops)
    if (op.name() == "attention") op.attrs["alibi"] = graph.value(op.inputs[0]).dims[2].size;
  return graph;
}

TEST(PartitionAlibi, a_rank_has_the_slopes_of_its_own_heads_forward_and_backward) {
  for (const int64_t rank : {0, 1}) {
    Graph graph = biased();
    partition(graph, testing::tensor_parallel(2), {{"tp", rank}});
    differentiate(graph, Recompute::kNone);
    graph::verify(graph, "differentiate");
    int64_t seen = 0;
    for (const Op& op : graph.ops) {
      if (!op.name().starts_with("attention")) continue;
      const int64_t heads = graph.value(op.inputs[op.name() == "attention" ? 0 : 1]).dims[2].size;
      EXPECT_EQ(op.int_attr("alibi"), 2 * heads);
      EXPECT_EQ(op.int_attr("alibi_first"), rank * heads) << op.name();
      ++seen;
    }
    EXPECT_EQ(seen, 4);  // two layers
  }
}

TEST(PartitionAlibi, split_sequences_are_refused) {
  Graph graph = biased();
  const Plan plan{{{"cp", 2}}, {{"seq", "cp"}}, "", ""};
  try {
    partition(graph, plan);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUnsupported);
    EXPECT_THAT(e.what(), ::testing::AllOf(::testing::HasSubstr("linear biases"), ::testing::HasSubstr("'cp'")));
  }
}

}  // namespace
}  // namespace nemo::passes

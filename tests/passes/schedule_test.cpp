// Who writes a gradient buffer first, and what runs beside the computation.
#include "core/passes/schedule.hpp"

#include <gtest/gtest.h>

#include "core/passes/differentiate.hpp"
#include "core/passes/partition.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using graph::ValueId;
using graph::ValueKind;
using testing::Draft;
using testing::expect_golden;

TEST(Schedule, first_writer_of_a_tied_table_overwrites_and_the_second_adds) {
  Draft d;
  const ValueId x = d.embedded();
  d.finish(x, d.table());
  differentiate(d.graph, Recompute::kNone);
  expect_golden("schedule_tied", std::move(d.graph), schedule);
}

TEST(Schedule, every_gradient_buffer_is_overwritten_by_its_first_writer_only) {
  Graph g = testing::gpt();
  differentiate(g, Recompute::kFull);
  schedule(g);
  std::set<ValueId> written;
  for (const graph::Op& op : g.ops)
    for (const ValueId v : op.outputs)
      EXPECT_TRUE(v == 0 || g.value(v).kind != ValueKind::kGradient || op.int_attr("accumulate") == (written.insert(v).second ? 0 : 1))
          << op.scope;
  EXPECT_EQ(written.size(), g.parameters.size());
}

// Two norms share their weight but not their bias: one op writes a buffer that is already written and one that is not.
TEST(Schedule, an_op_never_overwrites_one_buffer_because_another_is_new) {
  Draft d;
  const ValueId x = d.embedded(), w = d.vector("w"), b0 = d.vector("b0"), b1 = d.vector("b1");
  d.finish(d.op("layer_norm", {d.op("layer_norm", {x, w, b0}), w, b1}), d.table());
  differentiate(d.graph, Recompute::kNone);
  expect_golden("schedule_half_shared_norm", std::move(d.graph), schedule);
}

TEST(Schedule, collectives_run_on_the_second_stream_and_nothing_else_does) {
  Graph g = testing::llama();
  partition(g, testing::sequence_parallel(2));
  schedule(g);
  int64_t collectives = 0;
  for (const graph::Op& op : g.ops) {
    const bool communicates = op.name() == "all_reduce" || op.name() == "all_gather" || op.name() == "reduce_scatter";
    EXPECT_EQ(op.stream, communicates ? 1 : 0) << op.name();
    collectives += communicates;
  }
  EXPECT_GT(collectives, 0);
}

TEST(Schedule, keeps_the_order_of_ops) {
  Graph g = testing::gpt();
  differentiate(g, Recompute::kSelective);
  const auto before = testing::op_names(g);
  schedule(g);
  EXPECT_EQ(testing::op_names(g), before);
}

}  // namespace
}  // namespace nemo::passes

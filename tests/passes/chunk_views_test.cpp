// Chunks of a sequence, which context parallel ranks attend to one by one, are ranges of memory and not copies.
#include <gtest/gtest.h>

#include "core/passes/compile.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes::testing {
namespace {

struct Sequence {
  Compiled compiled;
  std::vector<size_t> takes, puts;  // ops
};

Sequence split_in_two() {
  CompileOptions options;
  options.precision = {graph::DType::kBF16, graph::DType::kBF16, graph::DType::kF32, graph::DType::kF32, graph::DType::kF32, nullptr};
  options.supports = [](std::string_view) { return true; };
  options.plan = Plan{{{"cp", 2}}, {{"seq", "cp"}}, "", ""};
  options.coordinates["cp"] = 1;
  Sequence out{compile(llama({.layers = 2}), Purpose::kTrain, options), {}, {}};
  const auto& ops = out.compiled.graph.ops;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].name() == "take_chunks" && ops[i].int_attr("chunks") == 2) out.takes.push_back(i);
    if (ops[i].name() == "put_chunks" && ops[i].int_attr("chunks") == 2) out.puts.push_back(i);
  }
  return out;
}

// Of `part`, within `whole`: a half of dimension 1.
void expect_half(const Compiled& c, graph::ValueId part, graph::ValueId whole, double half) {
  const Placement &p = c.memory.placements[part], &w = c.memory.placements[whole];
  const graph::Value& value = c.graph.value(whole);
  EXPECT_EQ(p.region, w.region);
  EXPECT_EQ(p.strides, w.strides);
  EXPECT_EQ(p.offset - w.offset, static_cast<int64_t>(half) * value.dims[1].size / 2 * w.strides[1] * graph::size_of(value.dtype));
}

TEST(ChunkViews, queries_and_gradients_of_results_are_read_where_they_lie) {
  const Sequence s = split_in_two();
  ASSERT_EQ(s.takes.size(), 2U * 2 * 2);  // layers x halves x (queries, gradient of the result)
  for (const size_t i : s.takes) {
    const graph::Op& op = s.compiled.graph.ops[i];
    EXPECT_TRUE(s.compiled.memory.is_view[i]);
    expect_half(s.compiled, op.outputs[0], op.inputs[0], std::get<std::vector<double>>(op.attrs.at("take"))[0]);
  }
}

TEST(ChunkViews, results_and_gradients_of_queries_are_written_where_the_whole_lies) {
  const Sequence s = split_in_two();
  ASSERT_EQ(s.puts.size(), 2U * 2 * 2);
  for (const size_t i : s.puts) {
    const graph::Op& op = s.compiled.graph.ops[i];
    EXPECT_TRUE(s.compiled.memory.is_view[i]);
    const int32_t sum = graph::analyse_uses(s.compiled.graph).readers[op.outputs[0]].at(0);
    EXPECT_TRUE(s.compiled.memory.is_view[static_cast<size_t>(sum)]);
    expect_half(s.compiled, op.inputs[0], s.compiled.graph.ops[static_cast<size_t>(sum)].outputs[0],
                std::get<std::vector<double>>(op.attrs.at("take"))[0]);
  }
}

TEST(ChunkViews, keys_of_other_ranks_are_put_in_order_by_copies) {
  const Sequence s = split_in_two();
  size_t copies = 0;
  for (size_t i = 0; i < s.compiled.graph.ops.size(); ++i) {
    const graph::Op& op = s.compiled.graph.ops[i];
    if (op.name() != "take_chunks" || op.int_attr("chunks") != 4) continue;
    const auto& take = std::get<std::vector<double>>(op.attrs.at("take"));
    bool run = true;
    for (size_t k = 1; k < take.size(); ++k) run = run && take[k] == take[k - 1] + 1;
    if (run) continue;
    EXPECT_FALSE(s.compiled.memory.is_view[i]);
    ++copies;
  }
  EXPECT_GT(copies, 0U);
}

}  // namespace
}  // namespace nemo::passes::testing

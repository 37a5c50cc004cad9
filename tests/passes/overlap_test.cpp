// Programs in two streams: every byte that both touch is ordered by a wait, and sums keep their order.
#include "core/passes/overlap.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "core/passes/compile.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"
#include "tests/passes/two_streams.hpp"

namespace nemo::passes {
namespace {

using graph::DType;
using graph::Graph;
using graph::Op;
using graph::ValueId;
using graph::ValueKind;
using ::testing::IsEmpty;
using testing::TwoStreams;

Compiled compiled(const Graph& model, const Plan& plan, Recompute recompute) {
  CompileOptions options;
  options.precision = {DType::kBF16, DType::kBF16, DType::kF32, DType::kF32, DType::kF32, nullptr};
  options.supports = [](std::string_view) { return true; };
  options.recompute = recompute;
  options.plan = plan;
  return compile(model, Purpose::kTrain, options);
}

std::map<std::string, Plan> plans() {
  Plan gradients = testing::data_parallel(2), context{{{"cp", 2}}, {{"seq", "cp"}}, "", ""};
  gradients.shard_gradients = "dp";
  Plan ring = context;
  ring.context = "p2p";
  Plan turns = testing::sequence_parallel(2), context_turns = context;
  turns.take_turns = context_turns.take_turns = true;
  return {{"ring", ring},
          {"tp+sp in turns", turns},
          {"cp in turns", context_turns},
          {"tp", testing::tensor_parallel(2)},
          {"tp+sp", testing::sequence_parallel(2)},
          {"fsdp", testing::fully_sharded(2)},
          {"fsdp x tp+sp", testing::fully_sharded_sequence_parallel(2, 2)},
          {"zero2", gradients},
          {"cp", context}};
}

TEST(Overlap, what_both_streams_touch_is_ordered_by_a_wait) {
  for (const auto& [name, plan] : plans())
    for (auto* model : {testing::gpt, testing::llama})
      for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
        const Compiled c = compiled(model({.layers = 3}), plan, recompute);
        EXPECT_TRUE(c.streams.overlaps()) << name;
        EXPECT_THAT(TwoStreams(c.graph, c.memory, c.streams).run(), IsEmpty()) << name;
      }
}

// A random network with collectives anywhere in it.
Graph random_program(uint32_t seed) {
  std::mt19937 random(seed);
  testing::Draft d;
  std::vector<ValueId> pool{d.embedded()};
  const auto any = [&] { return pool[pool.size() - 1 - random() % std::min<size_t>(pool.size(), 4)]; };
  for (int i = 0; i < 40; ++i) {
    const ValueId x = any();
    switch (random() % 5) {
      case 0:
        pool.push_back(d.op("all_reduce", {x}, {{"mesh", std::string("tp")}}));
        break;
      case 1:
        pool.push_back(d.op("add", {x, any()}));
        break;
      case 2:
        pool.push_back(d.op("scale", {x}, {{"alpha", 0.5}}));
        break;
      case 3:
        pool.push_back(d.op("activation", {x}, {{"kind", std::string("silu")}}));
        break;
      default:
        pool.push_back(d.linear(x, "w" + std::to_string(i), {8, "embed", {}}));
    }
  }
  d.finish(d.op("add", {any(), any()}), d.table());
  return d.graph;
}

TEST(Overlap, random_programs_are_ordered_and_need_their_waits) {
  int beside = 0, caught = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const Compiled c = compiled(random_program(seed), {}, Recompute::kNone);
    EXPECT_THAT(TwoStreams(c.graph, c.memory, c.streams).run(), IsEmpty()) << seed;
    if (!c.streams.overlaps()) continue;
    ++beside;
    StreamPlan without = c.streams;
    for (int32_t& w : without.wait) w = StreamPlan::kNothing;
    caught += TwoStreams(c.graph, c.memory, without).run().empty() ? 0 : 1;
  }
  EXPECT_GT(beside, 30);
  EXPECT_EQ(caught, beside) << "a program whose waits are taken away has faults";
}

TEST(Overlap, writers_of_a_gradient_buffer_keep_their_order) {
  for (const auto& [name, plan] : plans()) {
    if (plan.take_turns) continue;  // either half may come first
    Graph before, after;
    CompileOptions options;
    options.supports = [](std::string_view) { return false; };
    options.precision = {DType::kF32, DType::kF32, DType::kF32, DType::kF32, DType::kF32, nullptr};
    options.plan = plan;
    options.observe = [&](std::string_view pass, const Graph& g) {
      if (pass == "quantize") before = g;
      if (pass == "schedule") after = g;
    };
    (void)compile(testing::gpt({.layers = 3}), Purpose::kTrain, options);
    const auto writers = [](const Graph& g) {
      std::map<ValueId, std::vector<std::string>> of;
      for (const Op& op : g.ops)
        for (const ValueId v : op.outputs)
          if (v != 0 && g.value(v).kind == ValueKind::kGradient) of[v].push_back(op.row->name + std::string(" ") + op.scope);
      return of;
    };
    EXPECT_EQ(writers(before), writers(after)) << name;
    EXPECT_EQ(before.ops.size(), after.ops.size()) << name;
  }
}

// Between a collective and the first op that waits for it there is work.
TEST(Overlap, sequence_parallel_backward_has_a_product_under_each_collective) {
  const Compiled c = compiled(testing::llama({.layers = 4}), testing::sequence_parallel(2), Recompute::kNone);
  int covered = 0, bare = 0;
  for (size_t i = 0; i < c.graph.ops.size(); ++i) {
    const Op& op = c.graph.ops[i];
    if (!communicates(op) || op.phase == graph::Phase::kForward) continue;
    bool product = false;
    for (size_t j = i; j < static_cast<size_t>(c.streams.joined[i]) && c.streams.stream[i] == 1; ++j)
      product = product || c.graph.ops[j].name().starts_with("linear_");
    ++(product ? covered : bare);
  }
  EXPECT_GE(covered, 4 * 6 - 4) << bare << " without";
}

TEST(Overlap, one_rank_has_one_stream_and_its_order) {
  const Compiled c = compiled(testing::gpt(), {}, Recompute::kNone);
  EXPECT_FALSE(c.streams.overlaps());
  for (const int32_t w : c.streams.wait) EXPECT_EQ(w, StreamPlan::kNothing);
}

}  // namespace
}  // namespace nemo::passes

// The stage pass: how blocks are dealt, what crosses, and that the stages of all ranks together are the whole model.
#include <gmock/gmock.h>

#include <map>
#include <numeric>
#include <set>

#include "core/base/error.hpp"
#include "core/passes/differentiate.hpp"
#include "core/passes/layout.hpp"
#include "core/passes/memory.hpp"
#include "core/passes/partition.hpp"
#include "core/passes/phases.hpp"
#include "core/passes/stage.hpp"
#include "core/passes/type.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Pipeline pipeline(int64_t virtual_stages = 1) {
  Pipeline p;
  p.mesh = "pp";
  p.virtual_stages = virtual_stages;
  return p;
}

Plan pipelined(int64_t ranks, int64_t virtual_stages = 1, Plan plan = {}) {
  plan.mesh.insert(plan.mesh.begin(), {"pp", ranks});
  plan.pipeline = pipeline(virtual_stages);
  return plan;
}

std::string refusal(int64_t blocks, const Pipeline& p, int64_t ranks) {
  try {
    (void)deal_blocks(blocks, p, ranks);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kConfig);
    return e.what();
  }
  return "";
}

TEST(DealBlocks, evenly_by_the_ends_or_as_listed) {
  EXPECT_THAT(deal_blocks(8, pipeline(), 4), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(deal_blocks(8, pipeline(2), 2), ElementsAre(2, 2, 2, 2));
  Pipeline ends = pipeline();
  ends.first_layers = 1, ends.last_layers = 3;
  EXPECT_THAT(deal_blocks(8, ends, 4), ElementsAre(1, 2, 2, 3));
  Pipeline counted = pipeline(8);  // Llama 3.1 405B: 126 blocks over 8 x 8 stages
  counted.count_embedding = counted.count_loss = true;
  const auto dealt = deal_blocks(126, counted, 8);
  EXPECT_EQ(dealt.front(), 1);
  EXPECT_EQ(dealt.back(), 1);
  EXPECT_EQ(std::accumulate(dealt.begin(), dealt.end(), int64_t{0}), 126);
  Pipeline listed = pipeline();
  listed.layers = {3, 0, 5};
  EXPECT_THAT(deal_blocks(8, listed, 3), ElementsAre(3, 0, 5));
}

TEST(DealBlocks, what_cannot_be_dealt_is_refused_with_the_numbers) {
  EXPECT_THAT(refusal(7, pipeline(), 2), ::testing::AllOf(HasSubstr("7 blocks"), HasSubstr("2 pipeline stages")));
  EXPECT_THAT(refusal(4, pipeline(), 8), HasSubstr("4 blocks cannot be dealt to 8"));
  Pipeline listed = pipeline();
  listed.layers = {3, 6};
  EXPECT_THAT(refusal(8, listed, 2), ::testing::AllOf(HasSubstr("add up to 9"), HasSubstr("the model's 8")));
  Pipeline ends = pipeline();
  ends.first_layers = 8, ends.last_layers = 8;
  EXPECT_THAT(refusal(8, ends, 4), HasSubstr("cannot be dealt"));
}

struct Cut {
  graph::Graph graph;
  Stages stages;
};

Cut cut(graph::Graph graph, const Plan& plan, int64_t rank, bool differentiated = false) {
  type(graph, {});
  partition(graph, plan);
  Cut out{std::move(graph), {}};
  out.stages = stage(out.graph, plan, rank);
  verify(out.graph, "stage");
  if (differentiated) differentiate(out.graph, Recompute::kNone, &out.stages);
  verify(out.graph, "differentiate");
  return out;
}

TEST(Stage, all_ranks_together_hold_every_op_and_parameter_once) {
  const graph::Graph whole = llama({.layers = 8});
  for (const auto& [ranks, v] : {std::pair{2, 1}, {4, 2}, {2, 4}, {8, 1}}) {
    size_t ops = 0;
    std::multiset<std::string> names;
    for (int64_t r = 0; r < ranks; ++r) {
      const Cut part = cut(whole, pipelined(ranks, v), r);
      ops += part.graph.ops.size();
      for (const auto& p : part.graph.parameters) names.insert(p.name);
      EXPECT_TRUE(part.stages.shared.empty());
    }
    EXPECT_EQ(ops, whole.ops.size());
    EXPECT_EQ(names.size(), whole.parameters.size());
    for (const auto& p : whole.parameters) EXPECT_EQ(names.count(p.name), 1U) << p.name;
  }
}

TEST(Stage, neighbours_agree_on_what_crosses) {
  Plan plan = pipelined(2, 2, sequence_parallel(2));
  std::erase_if(plan.rules, [](const auto& rule) { return rule.first == "vocab"; });
  const Cut a = cut(llama({.layers = 4}), plan, 0, true), b = cut(llama({.layers = 4}), plan, 1, true);
  ASSERT_EQ(a.stages.sends.size(), 2U);     // stages 0 and 2 hand on
  ASSERT_EQ(a.stages.receives.size(), 1U);  // stage 2 receives
  ASSERT_EQ(b.stages.sends.size(), 1U);
  ASSERT_EQ(b.stages.receives.size(), 2U);
  const auto dims = [](const Cut& c, const StageLink& link) { return c.graph.value(link.value).dims; };
  EXPECT_EQ(dims(a, a.stages.sends[0]), dims(b, b.stages.receives[0]));
  EXPECT_EQ(dims(a, a.stages.sends[0])[1].size, 2);  // a tensor-parallel rank hands on its part of the tokens
  EXPECT_EQ(dims(b, b.stages.sends[0]), dims(a, a.stages.receives[0]));
  for (const Cut* c : {&a, &b})
    for (const auto* links : {&c->stages.sends, &c->stages.receives})
      for (const StageLink& link : *links) {
        EXPECT_TRUE(link.differentiable);
        ASSERT_NE(link.gradient, 0U);
        EXPECT_EQ(c->graph.value(link.gradient).dims, c->graph.value(link.value).dims);
      }
  EXPECT_NE(a.graph.find_output("grad.recv.1.0"), 0U);
  EXPECT_NE(b.graph.find_input("grad.send.0.0"), 0U);
  EXPECT_EQ(a.graph.find_output("loss"), 0U);
  EXPECT_NE(b.graph.find_output("loss"), 0U);
}

TEST(Stage, a_tied_table_is_shared_by_the_ranks_of_the_first_and_last_stage) {
  for (const int64_t rank : {0, 3}) {
    const Cut part = cut(gpt({.layers = 4}), pipelined(4), rank);
    ASSERT_EQ(part.stages.shared.size(), 1U);
    EXPECT_EQ(part.graph.parameters[part.stages.shared[0].parameter].name.find("word") != std::string::npos, true);
    EXPECT_THAT(part.stages.shared[0].ranks, ElementsAre(0, 3));
  }
  EXPECT_TRUE(cut(gpt({.layers = 4}), pipelined(4), 1).stages.shared.empty());
}

TEST(Stage, without_a_pipeline_the_graph_stays_as_it_is) {
  graph::Graph graph = llama();
  const std::string before = print(graph);
  EXPECT_FALSE(stage(graph, tensor_parallel(2), 0).cut());
  EXPECT_EQ(print(graph), before);
}

TEST(Stage, values_that_skip_stages_are_handed_on_by_those_between) {
  Draft d;
  graph::ValueId x = d.embedded();
  const graph::ValueId early = x;
  for (int64_t i = 0; i < 4; ++i) {
    d.builder.block_begin("layer", i);
    x = d.op("add", {x, d.linear(x, "l" + std::to_string(i), {8, "embed", {}})});
    if (i == 3) x = d.op("add", {x, early});
    d.builder.block_end();
  }
  d.finish(x, d.table());
  const Cut middle = cut(d.graph, pipelined(4), 1, true);
  // Stage 0 hands on one value, which block 0 makes, and the embedding, which block 3 reads.
  EXPECT_EQ(middle.stages.receives.size(), 2U);
  EXPECT_EQ(middle.stages.sends.size(), 2U);
  for (const StageLink& link : middle.stages.sends) EXPECT_NE(link.gradient, 0U);
}

TEST(StageMemory, a_gradient_comes_back_to_where_its_value_was_sent_from) {
  Cut part = cut(gpt({.layers = 4}), pipelined(2, 2), 0, true);
  const Phases phases = find_phases(part.graph, part.stages, false);
  StateLayout state;
  const MemoryPlan plan = plan_memory(part.graph, layout(part.graph), state, &phases);
  ASSERT_FALSE(part.stages.sends.empty());
  for (const StageLink& link : part.stages.sends) {
    EXPECT_EQ(plan.placements[link.gradient].region, Region::kSlot);
    EXPECT_EQ(plan.placements[link.gradient].offset, plan.placements[link.value].offset);
  }
}

TEST(StageMemory, what_outlives_a_phase_lies_in_the_slot_and_the_rest_in_the_arena) {
  for (const bool split : {false, true}) {
    Cut part = cut(gpt({.layers = 4}), pipelined(2, 2), 1, true);
    const Phases phases = find_phases(part.graph, part.stages, split);
    const FlatLayout flat = layout(part.graph);
    StateLayout state;
    const MemoryPlan plan = plan_memory(part.graph, flat, state, &phases);
    ASSERT_EQ(plan.slot_bytes.size(), 2U);
    std::map<graph::ValueId, std::set<StagePhase>> touched;
    for (size_t i = 0; i < part.graph.ops.size(); ++i)
      for (const auto* list : {&part.graph.ops[i].inputs, &part.graph.ops[i].outputs})
        for (const graph::ValueId v : *list)
          if (v != 0) touched[v].insert(phases.phase[i]);
    size_t kept = 0;
    for (const auto& [v, in] : touched) {
      const auto& place = plan.placements[v];
      if (in.size() > 1 && part.graph.value(v).kind == graph::ValueKind::kResult) {
        EXPECT_EQ(place.region, Region::kSlot) << "%" << v;
        ++kept;
      }
      if (place.region == Region::kSlot) {
        const int64_t end = place.offset + graph::element_count(part.graph.value(v).dims) * graph::size_of(part.graph.value(v).dtype);
        EXPECT_LE(end, plan.slot_bytes[static_cast<size_t>(phases.value_chunk[v])]);
      }
    }
    EXPECT_GT(kept, 10U);
    for (const StageLink& link : part.stages.sends) EXPECT_EQ(plan.placements[link.value].region, Region::kSlot);
    for (const StageLink& link : part.stages.receives) EXPECT_EQ(plan.placements[link.value].region, Region::kSlot);
  }
}

}  // namespace
}  // namespace nemo::passes::testing

// Memory plans, judged by running them symbolically.
#include "core/passes/memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/base/error.hpp"
#include "core/passes/compile.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/memory_checker.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::DType;
using graph::Graph;
using graph::ValueId;
using testing::Draft;
using ::testing::ElementsAre;
using testing::faults_of;
using ::testing::IsEmpty;
using testing::needed_bytes;

CompileOptions options_for(DType dtype, Recompute recompute, bool fused) {
  CompileOptions options;
  options.precision = {dtype, dtype, DType::kF32, DType::kF32, DType::kF32, nullptr};
  options.recompute = recompute;
  options.supports = [fused](std::string_view) { return fused; };
  return options;
}

// A random network of ops on [batch, seq, embed], every value with a chance to be read again later.
Graph random_model(uint32_t seed) {
  std::mt19937 random(seed);
  Draft d;
  std::vector<ValueId> pool{d.embedded()};
  const auto any = [&] {
    return pool[random() % 3 == 0 ? random() % pool.size() : pool.size() - 1 - random() % std::min<size_t>(pool.size(), 3)];
  };
  int64_t names = 0;
  const auto project = [&](ValueId x) { return d.linear(x, "w" + std::to_string(names++), {8, "embed", {}}); };
  for (int i = 0; i < 30; ++i) {
    const ValueId x = any();
    switch (random() % 10) {
      case 0:
        pool.push_back(d.op("add", {x, any()}));
        break;
      case 1:
        pool.push_back(d.op("mul", {x, any()}));
        break;
      case 2:
        pool.push_back(d.op("scale", {x}, {{"alpha", 0.5}}));
        break;
      case 3:
        pool.push_back(d.op("activation", {x}, {{"kind", std::string("silu")}}));
        break;
      case 4:
        pool.push_back(d.op("rms_norm", {x, d.vector("n" + std::to_string(names++))}));
        break;
      case 5:
        pool.push_back(project(x));
        break;
      case 6:
        pool.push_back(d.op("softmax", {x}));
        break;
      case 7:
        pool.push_back(d.op("glu", {project(x), project(x)}));
        break;
      case 8:
        pool.push_back(d.op("add", {d.op("add", {project(x), project(x)}), project(x)}));
        break;
      default:
        pool.push_back(d.op("dropout", {x, d.builder.input("rng")}, {{"p", 0.1}, {"key", static_cast<int64_t>(i)}}));
    }
  }
  d.builder.output("metric", pool[random() % pool.size()]);
  d.finish(d.op("add", {pool.back(), pool[random() % pool.size()]}), d.table());
  return std::move(d.graph);
}

TEST(Memory, random_programs_find_every_value_where_they_left_it) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const auto recompute = static_cast<Recompute>(seed % 3);
    const auto purpose = seed % 5 == 0 ? Purpose::kEvaluate : Purpose::kTrain;
    const Compiled c = compile(random_model(seed), purpose, options_for(seed % 2 ? DType::kBF16 : DType::kF32, recompute, seed % 4 < 2));
    ASSERT_THAT(faults_of(c.graph, c.memory), IsEmpty()) << "seed " << seed << "\n" << graph::print(c.graph);
    EXPECT_GE(c.memory.arena_bytes, needed_bytes(c.graph, c.memory));
  }
}

TEST(Memory, models_find_every_value_where_they_left_it) {
  for (const auto recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull})
    for (const DType dtype : {DType::kF32, DType::kBF16})
      for (const bool fused : {false, true})
        for (const Graph& model : {testing::gpt(), testing::llama()}) {
          const Compiled c = compile(model, Purpose::kTrain, options_for(dtype, recompute, fused));
          EXPECT_THAT(faults_of(c.graph, c.memory), IsEmpty());
        }
}

// Values, kept for the backward region, lie beside queries and keys: these take no second buffer.
TEST(Memory, queries_and_keys_are_turned_where_their_group_left_them) {
  const Compiled c = compile(testing::llama(), Purpose::kTrain, options_for(DType::kBF16, Recompute::kNone, true));
  size_t turned = 0;
  for (const graph::Op& op : c.graph.ops) {
    if (op.name() != "rope" || op.phase != graph::Phase::kForward) continue;
    const Placement &in = c.memory.placements[op.inputs[0]], &out = c.memory.placements[op.outputs[0]];
    EXPECT_EQ(in.offset, out.offset);
    EXPECT_EQ(in.strides, out.strides);
    ++turned;
  }
  EXPECT_GT(turned, 0u);
}

// The gradient of a loss over a sharded vocabulary does not exist yet.
Plan whole_vocabulary(Plan plan) {
  std::erase_if(plan.rules, [](const auto& rule) { return rule.first == "vocab"; });
  return plan;
}

TEST(Memory, programs_of_one_rank_find_every_value_where_they_left_it) {
  Plan shared_gradients = testing::data_parallel(2);
  shared_gradients.shard_gradients = "dp";
  for (const Plan& plan :
       {testing::data_parallel(2), shared_gradients, testing::fully_sharded(4), whole_vocabulary(testing::tensor_parallel(2)),
        whole_vocabulary(testing::sequence_parallel(2)), Plan{{{"cp", 2}}, {{"seq", "cp"}}, "", ""}})
    for (const auto recompute : {Recompute::kNone, Recompute::kFull})
      for (const Graph& model : {testing::gpt(), testing::llama()}) {
        CompileOptions options = options_for(DType::kBF16, recompute, true);
        options.plan = plan;
        const Compiled c = compile(model, Purpose::kTrain, options);
        EXPECT_THAT(faults_of(c.graph, c.memory), IsEmpty()) << graph::print(c.graph);
      }
}

class TwelveLayers : public ::testing::TestWithParam<Recompute> {};

TEST_P(TwelveLayers, arena_is_at_most_a_fifth_above_what_is_needed) {
  const testing::ModelSize size{.layers = 12, .batch = 2, .seq = 16, .embed = 32, .heads = 4, .kv_heads = 4, .mlp = 128, .vocab = 64};
  for (const bool fused : {false, true})
    for (const Graph& model : {testing::gpt(size), testing::llama(size)}) {
      const Compiled c = compile(model, Purpose::kTrain, options_for(DType::kBF16, GetParam(), fused));
      EXPECT_THAT(faults_of(c.graph, c.memory), IsEmpty());
      const int64_t needed = needed_bytes(c.graph, c.memory);
      EXPECT_GE(c.memory.arena_bytes, needed);
      EXPECT_LE(static_cast<double>(c.memory.arena_bytes), 1.2 * static_cast<double>(needed));
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, TwelveLayers, ::testing::Values(Recompute::kNone, Recompute::kSelective, Recompute::kFull));

TEST(Memory, recompute_never_needs_more) {
  const testing::ModelSize size{.layers = 6, .batch = 2, .seq = 16, .embed = 32, .heads = 4, .kv_heads = 4, .mlp = 128, .vocab = 64};
  const auto arena = [&](Recompute r) {
    return compile(testing::llama(size), Purpose::kTrain, options_for(DType::kBF16, r, true)).memory.arena_bytes;
  };
  EXPECT_LE(arena(Recompute::kSelective), arena(Recompute::kNone));
  EXPECT_LT(arena(Recompute::kFull), arena(Recompute::kSelective));
}

// q, k, v of a grouped projection and what they become in memory.
TEST(Memory, slices_are_columns_of_the_joined_result) {
  const Compiled c = compile(testing::gpt(), Purpose::kEvaluate, options_for(DType::kF32, Recompute::kNone, false));
  int64_t slices = 0;
  for (size_t i = 0; i < c.graph.ops.size(); ++i) {
    const graph::Op& op = c.graph.ops[i];
    if (op.name() != "slice") continue;
    ++slices;
    EXPECT_TRUE(c.memory.is_view[i]);
    const Placement &whole = c.memory.placements[op.inputs[0]], &part = c.memory.placements[op.outputs[0]];
    EXPECT_EQ(part.offset, whole.offset + 4 * op.int_attr("start"));
    EXPECT_EQ(part.region, Region::kArena);
    const graph::Dims& dims = c.graph.value(op.outputs[0]).dims;
    EXPECT_THAT(part.strides, ElementsAre(whole.strides[0], whole.strides[1], dims[3].size, 1));
  }
  EXPECT_EQ(slices, 6);
}

TEST(Memory, gradients_of_grouped_siblings_are_written_in_place) {
  const Compiled c = compile(testing::llama(), Purpose::kTrain, options_for(DType::kF32, Recompute::kNone, false));
  int64_t joined = 0;
  for (size_t i = 0; i < c.graph.ops.size(); ++i)
    if (c.graph.ops[i].name() == "concat") joined += c.memory.is_view[i];
  EXPECT_EQ(joined, 4) << "q|k|v and gate|up of two layers";
}

// x [2, 4, 8] -> y, planned with the given ops appended.
struct Typed {
  Graph graph;
  ValueId x;
  Typed() { x = graph.add_input("x", DType::kF32, {{2, "batch", {}}, {4, "seq", {}}, {8, "embed", {}}}); }
  ValueId op(std::string_view name, std::vector<ValueId> inputs, graph::Attrs attrs = {}, ValueId preset = 0) {
    graph.ops.push_back(make_op(graph, {name, std::move(inputs), std::move(attrs), {preset}}));
    return graph.ops.back().outputs[0];
  }
  ValueId shaped(graph::Dims dims) { return graph.add_value({graph::ValueKind::kResult, "", DType::kF32, std::move(dims), {}}); }
  [[nodiscard]] MemoryPlan plan() const {
    graph::verify(graph, "test");
    StateLayout state;
    return plan_memory(graph, layout(graph), state);
  }
};

TEST(Memory, joining_along_any_dimension_is_right) {
  for (size_t dim = 0; dim < 3; ++dim) {
    Typed t;
    const ValueId a = t.op("add", {t.x, t.x}), b = t.op("add", {t.x, t.x});
    graph::Dims dims = t.graph.value(t.x).dims;
    dims[dim].size *= 2;
    const ValueId whole = t.op("concat", {a, b}, {{"dim", static_cast<int64_t>(dim)}}, t.shaped(dims));
    t.graph.outputs.emplace_back("y", whole);
    EXPECT_THAT(faults_of(t.graph, t.plan()), IsEmpty()) << "dim " << dim;
  }
}

TEST(Memory, taking_a_part_of_any_dimension_is_right) {
  for (size_t dim = 0; dim < 3; ++dim) {
    Typed t;
    const ValueId a = t.op("add", {t.x, t.x});
    graph::Dims dims = t.graph.value(t.x).dims;
    dims[dim].size /= 2;
    const int64_t half = dims[dim].size;
    const ValueId part = t.op("slice", {a}, {{"dim", static_cast<int64_t>(dim)}, {"start", half}, {"length", half}}, t.shaped(dims));
    t.graph.outputs.emplace_back("y", t.op("add", {part, part}));
    EXPECT_THAT(faults_of(t.graph, t.plan()), IsEmpty()) << "dim " << dim;
  }
}

TEST(Memory, chains_of_elementwise_ops_take_one_buffer) {
  Typed t;
  ValueId y = t.op("scale", {t.x}, {{"alpha", 2.0}});
  for (int i = 0; i < 5; ++i) y = t.op("add", {y, t.x});
  t.graph.outputs.emplace_back("y", y);
  EXPECT_EQ(t.plan().arena_bytes, 256);
}

TEST(Memory, a_value_that_is_read_later_is_never_taken_over) {
  Typed t;
  const ValueId a = t.op("scale", {t.x}, {{"alpha", 2.0}}), b = t.op("scale", {a}, {{"alpha", 3.0}});
  t.graph.outputs.emplace_back("y", t.op("mul", {a, b}));
  const MemoryPlan plan = t.plan();
  EXPECT_NE(plan.placements[a].offset, plan.placements[b].offset);
  EXPECT_THAT(faults_of(t.graph, plan), IsEmpty());
}

TEST(Memory, graph_outputs_outlive_the_program) {
  Typed t;
  const ValueId a = t.op("scale", {t.x}, {{"alpha", 2.0}});
  t.graph.outputs.emplace_back("a", a);
  t.graph.outputs.emplace_back("b", t.op("scale", {a}, {{"alpha", 2.0}}));
  EXPECT_THAT(faults_of(t.graph, t.plan()), IsEmpty());
  EXPECT_EQ(t.plan().arena_bytes, 512);
}

TEST(Memory, the_peak_names_its_largest_buffers_first) {
  const Compiled c = compile(testing::gpt({.layers = 3, .vocab = 512}), Purpose::kTrain, options_for(DType::kF32, Recompute::kNone, false));
  ASSERT_FALSE(c.memory.at_peak.empty());
  EXPECT_LE(c.memory.at_peak.size(), 10u);
  int64_t sum = 0;
  for (size_t i = 0; i < c.memory.at_peak.size(); ++i) {
    EXPECT_TRUE(i == 0 || c.memory.at_peak[i].bytes <= c.memory.at_peak[i - 1].bytes);
    sum += c.memory.at_peak[i].bytes;
  }
  EXPECT_LE(sum, c.memory.arena_bytes);
  EXPECT_EQ(c.memory.at_peak[0].op, "linear") << "the logits";
}

TEST(Memory, the_checker_sees_an_overlap) {
  Typed t;
  const ValueId a = t.op("scale", {t.x}, {{"alpha", 2.0}}), b = t.op("scale", {t.x}, {{"alpha", 3.0}});
  t.graph.outputs.emplace_back("y", t.op("mul", {a, b}));
  MemoryPlan plan = t.plan();
  plan.placements[b].offset = plan.placements[a].offset;
  EXPECT_FALSE(faults_of(t.graph, plan).empty());
}

TEST(StateLayout, a_name_is_one_range_in_all_programs_and_has_one_size) {
  StateLayout state;
  const int64_t first = state.place("a", 100).offset, second = state.place("b", 8).offset;
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 256);
  EXPECT_EQ(state.place("a", 100).offset, first);
  EXPECT_EQ(state.bytes, 512);
  EXPECT_THROW((void)state.place("a", 104), nemo::Error);
}

}  // namespace
}  // namespace nemo::passes

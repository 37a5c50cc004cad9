// A pipeline rank's launch lists in two streams.
#include "core/passes/stage_streams.hpp"

#include <gmock/gmock.h>

#include "core/passes/compile.hpp"
#include "tests/passes/partition_models.hpp"
#include "tests/passes/two_streams.hpp"

namespace nemo::passes::testing {
namespace {

using ::testing::IsEmpty;

Compiled compiled(Plan plan, int64_t rank, const std::string& schedule, int64_t virtual_stages) {
  CompileOptions options;
  options.precision = {graph::DType::kBF16, graph::DType::kBF16, graph::DType::kF32, graph::DType::kF32, graph::DType::kF32, nullptr};
  options.supports = [](std::string_view) { return true; };
  plan.mesh.insert(plan.mesh.begin(), {"pp", 2});
  plan.pipeline.mesh = "pp";
  plan.pipeline.schedule = schedule;
  plan.pipeline.virtual_stages = virtual_stages;
  options.plan = plan;
  options.coordinates["pp"] = rank;
  return compile(llama({.layers = 4}), Purpose::kTrain, options);
}

// One launch list as a program of its own.
struct Part {
  graph::Graph graph;
  MemoryPlan memory;
  StreamPlan streams;
};

Part part_of(const Compiled& whole, int32_t chunk, StagePhase phase) {
  Part part{whole.graph, whole.memory, {}};
  part.graph.ops.clear(), part.memory.is_view.clear();
  std::vector<int32_t> list;
  for (size_t i = 0; i < whole.graph.ops.size(); ++i)
    if (whole.phases.chunk[i] == chunk && whole.phases.phase[i] == phase) list.push_back(static_cast<int32_t>(i));
  for (const int32_t i : list) {
    const auto at = static_cast<size_t>(i);
    part.graph.ops.push_back(whole.graph.ops[at]);
    part.memory.is_view.push_back(whole.memory.is_view[at]);
    part.streams.stream.push_back(whole.streams.stream[at]);
    const int32_t wait = whole.streams.wait[at];
    part.streams.wait.push_back(wait <= 0 ? wait : static_cast<int32_t>(std::lower_bound(list.begin(), list.end(), wait) - list.begin()));
  }
  part.streams.wait.push_back(static_cast<int32_t>(list.size()));  // a list ends when both streams do
  return part;
}

TEST(StageStreams, what_both_streams_of_a_launch_list_touch_is_ordered_by_a_wait) {
  Plan context{{{"cp", 2}}, {{"seq", "cp"}}, "", ""};
  for (const auto& [schedule, virtual_stages] : {std::pair{std::string("1f1b"), int64_t{1}}, {"interleaved", 2}, {"zb-h1", 1}})
    for (const Plan& plan : {sequence_parallel(2), tensor_parallel(2), context})
      for (const int64_t rank : {0, 1}) {
        const Compiled whole = compiled(plan, rank, schedule, virtual_stages);
        EXPECT_TRUE(schedule == "zb-h1" || whole.streams.overlaps()) << schedule;  // zb-h1 keeps weight gradients for later
        for (int32_t chunk = 0; chunk < whole.stages.chunks(); ++chunk)
          for (const StagePhase phase : {StagePhase::kForward, StagePhase::kBackward, StagePhase::kBackwardWeight}) {
            const Part part = part_of(whole, chunk, phase);
            EXPECT_THAT(TwoStreams(part.graph, part.memory, part.streams).run(), IsEmpty()) << schedule << rank << chunk;
          }
      }
}

TEST(StageStreams, weight_gradients_run_under_collectives_in_stages_too) {
  const Compiled whole = compiled(sequence_parallel(2), 1, "1f1b", 1);
  size_t covered = 0, collectives = 0;
  for (size_t i = 0; i + 1 < whole.graph.ops.size(); ++i) {
    if (whole.streams.stream[i] != 1 || whole.graph.ops[i].phase != graph::Phase::kBackward) continue;
    ++collectives;
    covered += whole.graph.ops[i + 1].name().starts_with("linear_wgrad");
  }
  EXPECT_GT(collectives, 4U);
  EXPECT_GE(2 * covered, collectives);
}

}  // namespace
}  // namespace nemo::passes::testing

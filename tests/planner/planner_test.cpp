// Laws of the planner: counts that follow from the layout, warnings, refusals, and its own speed.
#include <gmock/gmock.h>

#include <chrono>

#include "core/base/error.hpp"
#include "core/planner/network.hpp"
#include "core/planner/streams.hpp"
#include "tests/planner/planned.hpp"

namespace nemo::planner_test {
namespace {

using planner::Group;
using planner::Message;
using planner::Report;
using testing::AllOf;
using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

int64_t memory(const Report& r, const std::string& row) {
  for (const auto& one : r.largest().memory.rows)
    if (one.name == row) return one.bytes;
  ADD_FAILURE() << row;
  return 0;
}

const planner::Traffic& traffic(const Report& r, const std::string& axes) {
  for (const auto& t : r.traffic)
    if (t.axes == axes) return t;
  throw std::runtime_error("no traffic along " + axes);
}

TEST(Planner, counts_parameters_as_the_papers_do) {
  EXPECT_EQ(planned("llama3_70b", "").parameters, 70553706496);
  EXPECT_EQ(planned("llama31_405b", "").parameters, 405853388800);
  EXPECT_NEAR(static_cast<double>(planned("gpt3_175b", "").parameters), 174.6e9, 0.1e9);
}

TEST(Planner, state_memory_is_that_of_megatron) {
  // bf16 with f32 gradients: 6 + 12 / d bytes per parameter, all parameters over tensor x pipeline ranks. 70B: 4 x 4, d = 2 x 2.
  const Report r = planned("llama3_70b", "data.global_batch_size=128");
  const double held = static_cast<double>(r.largest().parameters);
  const double state = static_cast<double>(memory(r, "parameters") + memory(r, "gradients") + memory(r, "master weights") +
                                           memory(r, "optimizer first moment") + memory(r, "optimizer second moment"));
  EXPECT_NEAR(state / held, 6 + 12.0 / 4, 0.01);
  EXPECT_NEAR(held, 70553706496.0 / 16, 0.06 * 70553706496.0 / 16);  // embedding and head on the ends
}

TEST(Planner, tensor_traffic_is_that_of_sequence_parallelism) {
  // Per layer and micro-batch fwd 2 AG + 2 RS, bwd 2 AG + 2 RS of b s h bf16, and what the wgrads gather again if the forward's is not
  // kept.
  const Report r = planned("llama3_70b", "data.global_batch_size=128");
  const double bsh = 4096.0 * 8192 * 2, layers = 20, each = bsh * 3 / 4;
  const double per_layer = traffic(r, "tp").bytes / static_cast<double>(r.micro_batches) / layers / each;
  EXPECT_GE(per_layer, 8);
  EXPECT_LE(per_layer, 10.8);
}

TEST(Planner, pipeline_traffic_and_bubble_follow_the_schedule) {
  const Report r = planned("llama3_70b", "data.global_batch_size=512");
  EXPECT_EQ(r.micro_batches, 256);
  const double ideal = 3.0 / (5 * 256);
  EXPECT_GE(r.bubble, ideal * 0.9);
  EXPECT_LE(r.bubble, ideal + 0.05);          // stages with embedding and head are longer than others
  const double each = 4096.0 * 8192 * 2 / 4;  // a tensor rank's part of the tokens
  EXPECT_NEAR(traffic(r, "pp").bytes, 2 * each * 5 * 256, 1.01 * each * 2 * 256);
}

TEST(Planner, more_virtual_stages_or_micro_batches_mean_less_bubble) {
  const double five = planned("llama3_70b", "data.global_batch_size=64").bubble;
  const double none = planned("llama3_70b", "data.global_batch_size=64 strategy.virtual_pipeline_model_parallel_size=1").bubble;
  const double more = planned("llama3_70b", "data.global_batch_size=512").bubble;
  EXPECT_LT(five, none);
  EXPECT_LT(more, five);
}

TEST(Planner, recompute_takes_time_and_gives_memory) {
  const Report none = planned("llama3_70b", "data.global_batch_size=128"),
               full = planned("llama3_70b", "data.global_batch_size=128 trainer.recompute=full");
  EXPECT_LT(memory(full, "micro-batches in flight"), memory(none, "micro-batches in flight") / 4);
  // A third more at most; the last product of a block is not needed again.
  EXPECT_GT(full.split.compute / none.split.compute, 1.2);
  EXPECT_LT(full.split.compute / none.split.compute, 4.0 / 3);
  EXPECT_THAT(full.warnings, Contains(HasSubstr("recompute without need")));
}

TEST(Planner, sharding_of_optimizer_state_divides_it) {
  const Report whole = planned("llama32_1b", "strategy.plugin=megatron strategy.use_distributed_optimizer=false trainer.devices=8");
  const Report shared = planned("llama32_1b", "strategy.plugin=megatron trainer.devices=8");
  EXPECT_NEAR(static_cast<double>(memory(whole, "optimizer first moment")) / static_cast<double>(memory(shared, "optimizer first moment")),
              8, 0.01);
  EXPECT_THAT(whole.warnings, Contains(HasSubstr("distributed optimizer")));
}

TEST(Planner, sixteen_thousand_ranks_take_less_than_two_seconds) {
  const auto start = std::chrono::steady_clock::now();
  const Report r = planned("llama31_405b", "trainer.num_nodes=2048 strategy.context_parallel_size=1 data.global_batch_size=2048");
  EXPECT_EQ(r.world, 16384);
  EXPECT_GT(r.mfu(), 0.3);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("16,384 ranks: %.2f s\n", seconds);
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(seconds, 2);
#endif
}

std::string refusal(const std::string& recipe, const std::string& settings) {
  try {
    (void)planned(recipe, settings);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kConfig) << e.what();
    return e.what();
  }
  return "";
}

TEST(Planner, layouts_that_cannot_work_are_refused_with_the_numbers) {
  EXPECT_THAT(refusal("llama3_70b", "strategy.tensor_model_parallel_size=3"), AllOf(HasSubstr("3 x 4 x 2"), HasSubstr("64")));
  EXPECT_THAT(
      refusal("llama3_70b", "strategy.tensor_model_parallel_size=16 strategy.pipeline_model_parallel_size=2 data.global_batch_size=64"),
      AllOf(HasSubstr("8"), HasSubstr("16")));
  EXPECT_THAT(refusal("llama3_70b", "strategy.virtual_pipeline_model_parallel_size=3"),
              AllOf(HasSubstr("80 blocks"), HasSubstr("12 pipeline stages")));
  EXPECT_THAT(refusal("llama3_70b", "data.global_batch_size=3"), AllOf(HasSubstr("global_batch_size = 3"), HasSubstr("1 x 2")));
  EXPECT_THAT(refusal("llama3_70b", "data.global_batch_size=12"), HasSubstr("2 are left over"));
  EXPECT_THAT(refusal("llama3_8b",
                      "strategy.plugin=megatron trainer.devices=8 strategy.pipeline_model_parallel_size=8 "
                      "strategy.virtual_pipeline_model_parallel_size=8"),
              HasSubstr("32 blocks cannot be dealt to 64"));
}

TEST(Planner, bad_choices_are_named) {
  const Report across = planned(
      "llama3_70b",
      "strategy.tensor_model_parallel_size=8 strategy.pipeline_model_parallel_size=8 strategy.virtual_pipeline_model_parallel_size=1 "
      "strategy.context_parallel_size=1 data.global_batch_size=8");
  EXPECT_THAT(across.warnings, Contains(HasSubstr("pipeline bubble")));
  const Report plain = planned("llama3_70b", "strategy.sequence_parallel=false data.global_batch_size=128");
  EXPECT_THAT(plain.warnings, Contains(HasSubstr("without sequence parallelism")));
  const Report unfit = planned("llama3_8b", "strategy.plugin=single trainer.devices=1");
  EXPECT_FALSE(unfit.fits());
  EXPECT_THAT(unfit.warnings, Contains(AllOf(HasSubstr("does not fit"), HasSubstr("a larger tensor, pipeline or context"))));
  const Report nearly = planned("nemotron4_15b", "trainer.recompute=none");
  EXPECT_FALSE(nearly.fits());
  EXPECT_THAT(nearly.warnings, Contains(AllOf(HasSubstr("precision.grad_dtype=bf16 would (65.8"),
                                              HasSubstr("trainer.recompute=selective would"), HasSubstr("data.micro_batch_size=1 would"))));
  const Report odd = planned("gpt2_124m", "");
  EXPECT_THAT(odd.warnings, Contains(AllOf(HasSubstr("50257"), HasSubstr("make_vocab_size_divisible_by=128"))));
}

TEST(Planner, experts_are_counted_by_the_rows_that_come) {
  const std::string mixture = "model.plugin=mixtral strategy.plugin=megatron trainer.devices=8 model.num_layers=4 ";
  const Report one = planned("llama3_8b", mixture + "strategy.expert_model_parallel_size=1"),
               wide = planned("llama3_8b", mixture + "strategy.expert_model_parallel_size=8"),
               tight = planned("llama3_8b", mixture + "strategy.expert_model_parallel_size=8 strategy.moe_expert_rank_capacity_factor=1");
  EXPECT_DOUBLE_EQ(one.expert_room, 1);
  EXPECT_DOUBLE_EQ(wide.expert_room, 8);
  EXPECT_DOUBLE_EQ(tight.expert_room, 1);
  EXPECT_THAT(wide.warnings, Contains(AllOf(HasSubstr("room for 8 times"), HasSubstr("moe_expert_rank_capacity_factor"))));
  EXPECT_LT(memory(tight, "activations"), memory(wide, "activations"));
  // A rank sends each of 7 others room for all its rows of 2 choices, there and back, forward and backward, in every layer and micro-batch;
  // sums of gradients besides.
  const double rows = 8192.0 * 2 * 4096 * 2, each = rows * 7;
  EXPECT_NEAR(traffic(tight, "ep").bytes, each * 4 * 4 * static_cast<double>(tight.micro_batches), each);
  // Every product of the experts is of as many rows; as one launch they take what one product of all rows takes.
  const planner::Hardware& h = hardware();
  const double whole = planner::product_time(h, {16384, 14336, 4096, graph::DType::kBF16}),
               groups = planner::product_time(h, {2048, 14336, 4096, graph::DType::kBF16, 1, 8});
  EXPECT_NEAR(groups, whole, 1e-9);
}

TEST(Planner, narrow_gradients_over_many_micro_batches_are_named) {
  const std::string narrow = "precision.grad_dtype=bf16 data.micro_batch_size=1 data.global_batch_size=";
  const auto lost = Contains(HasSubstr("summed in 16 bits over 9 micro-batches"));
  EXPECT_THAT(planned("llama32_1b", narrow + "9").warnings, lost);
  EXPECT_THAT(planned("llama32_1b", narrow + "8").warnings, Not(Contains(HasSubstr("summed in 16 bits"))));
  EXPECT_THAT(planned("llama32_1b", "data.micro_batch_size=1 data.global_batch_size=9").warnings,
              Not(Contains(HasSubstr("summed in 16 bits"))));
}

TEST(Network, groups_know_their_nodes) {
  passes::Plan plan;
  plan.mesh = {{"pp", 4}, {"dp", 2}, {"cp", 2}, {"tp", 4}};
  const auto nodes = [&](const std::vector<std::string>& axes) { return planner::group_of(plan, axes, 8).nodes(); };
  EXPECT_EQ(nodes({"tp"}), 1);
  EXPECT_EQ(nodes({"cp"}), 1);
  EXPECT_EQ(nodes({"dp"}), 2);
  EXPECT_EQ(nodes({"pp"}), 4);
  EXPECT_EQ(planner::group_of(plan, {"dp", "cp"}, 8).size, 4);
  EXPECT_EQ(nodes({"dp", "cp"}), 2);
}

TEST(Network, an_all_reduce_moves_what_a_scatter_and_a_gather_do) {
  const Group g{8, 8};
  for (const double bytes : {1e6, 1e9}) {
    const double all = message_time(hardware(), g, Message::kAllReduce, bytes);
    const double both =
        message_time(hardware(), g, Message::kReduceScatter, bytes) + message_time(hardware(), g, Message::kAllGather, bytes);
    EXPECT_NEAR(both - all, bytes / 8 / hardware().copy_rate, 1e-12);  // its own part stays where it is
    EXPECT_DOUBLE_EQ(message_volume(g, Message::kAllReduce, bytes), 2 * bytes * 7 / 8);
  }
  EXPECT_EQ(message_time(hardware(), {1, 1}, Message::kAllReduce, 1e9), 0);
  EXPECT_GT(message_time(hardware(), {256, 8}, Message::kAllGather, 1e9), message_time(hardware(), g, Message::kAllGather, 1e9));
}

// tests/bench/results/overlap_two_h100.txt, "alone" with all of NCCL's channels; nccl-tests' bus bandwidth of performance.md for 8.
TEST(Network, collectives_within_a_node_take_what_was_measured) {
  struct Row {
    int64_t ranks;
    Message message;
    double bytes, seconds;
  };
  for (const Row& row : {Row{2, Message::kAllGather, 67.1e6, 0.160e-3}, Row{2, Message::kAllGather, 122e6, 0.265e-3},
                         Row{2, Message::kReduceScatter, 67.1e6, 0.172e-3}, Row{2, Message::kReduceScatter, 244e6, 0.527e-3},
                         Row{2, Message::kAllReduce, 244e6, 0.844e-3}, Row{4, Message::kAllReduce, 1 << 30, 1.5 * (1 << 30) / 355e9},
                         Row{8, Message::kAllReduce, 1 << 30, 1.75 * (1 << 30) / 361e9},
                         Row{8, Message::kAllGather, 16.0 * (1 << 30), 16.0 * (1 << 30) * 7 / 8 / 361e9}})
    EXPECT_NEAR(message_time(hardware(), {row.ranks, row.ranks}, row.message, row.bytes) / row.seconds, 1, 0.10)
        << row.ranks << " ranks, " << row.bytes << " bytes";
}

// The same file: products of 0.73 ms, as many as last longer than the collective.
TEST(Streams, what_a_collective_costs_the_products_beside_it_is_what_was_measured) {
  const planner::TwoStreams::Cost cost{hardware().overlap_fixed, hardware().overlap_share};
  for (const auto& [alone, lost] :
       {std::pair{0.160e-3, 0.092e-3}, {0.172e-3, 0.104e-3}, {0.265e-3, 0.138e-3}, {0.527e-3, 0.170e-3}, {0.844e-3, 0.265e-3}}) {
    planner::TwoStreams time(cost);
    time.beside(alone, "dp");
    time.compute(2.9e-3);
    time.wait_for_all();
    EXPECT_NEAR(time.now() - 2.9e-3, lost, 0.025e-3) << alone;
    EXPECT_NEAR(time.take_losses().at(0).seconds, time.now() - 2.9e-3, 1e-12);
  }
}

TEST(Streams, a_collective_that_outlasts_its_cover_is_waited_for) {
  planner::TwoStreams time({0, 0.25});
  time.beside(1.0, "tp");
  time.compute(0.3);  // 0.4 s at three quarters
  EXPECT_NEAR(time.now(), 0.4, 1e-12);
  time.wait_for_all();
  EXPECT_NEAR(time.now(), 1.0, 1e-12);
  EXPECT_NEAR(time.take_losses().at(0).seconds, 0.7, 1e-12);
  time.between(0.5, "tp");
  EXPECT_NEAR(time.now(), 1.5, 1e-12);
}

TEST(ComputeTime, large_products_reach_the_rate_and_small_ones_do_not) {
  const auto rate = [](double m, double n, double k) {
    return 2 * m * n * k / planner::product_time(hardware(), {m, n, k, graph::DType::kBF16}) /
           hardware().product_rate.at(graph::DType::kBF16);
  };
  EXPECT_GT(rate(8192, 28672, 8192), 0.93);
  EXPECT_LE(rate(8192, 28672, 8192), 1.0);
  EXPECT_LT(rate(65536, 768, 768), 0.9);
  EXPECT_LT(rate(128, 128, 4096), 0.1);
}

TEST(ComputeTime, attention_rates_lie_between_the_measured) {
  for (const int64_t d : {64, 128})
    for (const bool backward : {false, true}) {
      double before = 0;
      for (const int64_t keys : {512, 1024, 1500, 2048, 3000, 4096, 8192, 32768}) {
        const double rate = attention_rate(hardware(), d, keys, keys, backward);
        EXPECT_GE(rate, before);
        before = rate;
      }
    }
}

}  // namespace
}  // namespace nemo::planner_test

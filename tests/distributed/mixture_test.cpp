// A mixture of experts under expert parallelism: trains like one rank, with the losses of its routers, and its checkpoints belong to no
// layout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/distributed/runner.hpp"

namespace nemo::distributed_test {
namespace {

using testing::HasSubstr;

constexpr double kTolerance = 1e-5;

// The balance of experts is judged by the tokens of one micro-batch of all ranks together, so that all layouts have the same 8 samples in
// it: one micro-batch a step (with several, ranks deal samples to micro-batches otherwise than one rank does).
Overrides settings(int ranks, int data_ranks, std::initializer_list<const char*> strategy) {
  Overrides out{"data.global_batch_size=8", "data.micro_batch_size=" + std::to_string(8 / data_ranks),
                "trainer.devices=" + std::to_string(ranks)};
  if (ranks > 1) out.emplace_back("strategy.plugin=megatron");
  for (const char* s : strategy) out.push_back("strategy." + std::string(s));
  return out;
}

struct Split {
  const char* name;
  Overrides overrides;
};

std::vector<Split> layouts() {
  return {
      {"dp2 zero1", settings(2, 2, {})},
      {"tp2+sp", settings(2, 1, {"tensor_model_parallel_size=2"})},
      {"ep2", settings(2, 2, {"expert_model_parallel_size=2"})},
      {"ep4", settings(4, 4, {"expert_model_parallel_size=4"})},
      {"ep2 tp2+sp", settings(4, 2, {"expert_model_parallel_size=2", "tensor_model_parallel_size=2"})},
      {"ep2 tp2", settings(4, 2, {"expert_model_parallel_size=2", "tensor_model_parallel_size=2", "sequence_parallel=false"})},
      {"ep2 dp2 zero1", settings(4, 4, {"expert_model_parallel_size=2"})},
      {"ep2 fsdp2", settings(4, 4, {"expert_model_parallel_size=2", "data_parallel_sharding_strategy=optim_grads_params"})},
      {"ep2 cp2 a2a", settings(4, 2, {"expert_model_parallel_size=2", "context_parallel_size=2", "cp_comm_type=a2a"})},
      {"ep2 pp2", settings(4, 2, {"expert_model_parallel_size=2", "pipeline_model_parallel_size=2"})},
      {"ep2 room 1.9", settings(2, 2, {"expert_model_parallel_size=2", "moe_expert_rank_capacity_factor=1.9"})},
  };
}

TEST(Mixture, experts_on_several_ranks_train_like_one_rank) {
  const Folder folder;
  const std::vector<Step> one = train(folder, "mixtral", "one", settings(1, 1, {}));
  ASSERT_EQ(one.size(), 20U);
  EXPECT_LT(one.back().loss, one.front().loss);
  std::printf("%-22s %-20s %14s %14s\n", "mixtral", "layout", "loss", "grad norm");
  int n = 0;
  for (const Split& layout : layouts()) {
    const Difference d = difference(one, train(folder, "mixtral", "run" + std::to_string(n++), layout.overrides));
    std::printf("%-22s %-20s %14.2e %14.2e\n", "", layout.name, d.loss, d.grad_norm);
    EXPECT_LE(d.loss, kTolerance) << layout.name;
    EXPECT_LE(d.grad_norm, kTolerance) << layout.name;
  }
}

TEST(Mixture, a_checkpoint_of_split_experts_is_loaded_by_one_and_by_four_ranks) {
  const Folder folder;
  const auto with = [](Overrides a, std::initializer_list<const char*> b) {
    a.insert(a.end(), b.begin(), b.end());
    a.insert(a.end(), {"checkpoint.keep_top_k=1", "checkpoint.save_last=true"});
    return a;
  };
  const std::vector<Step> one = train(folder, "mixtral", "one", with(settings(1, 1, {}), {"trainer.max_steps=9"}));
  const auto ep2 = settings(2, 2, {"expert_model_parallel_size=2"}), ep4 = settings(4, 4, {"expert_model_parallel_size=4"});
  (void)train(folder, "mixtral", "moving", with(ep2, {"trainer.max_steps=3"}));
  (void)train(folder, "mixtral", "moving", with(settings(1, 1, {}), {"trainer.max_steps=6"}));
  (void)train(folder, "mixtral", "moving", with(ep2, {"trainer.max_steps=7"}));
  const std::vector<Step> moved = train(folder, "mixtral", "moving", with(ep4, {"trainer.max_steps=9"}));
  const Difference d = difference(one, moved);
  std::printf("ep2 > 1 > ep2 > ep4: loss %.2e, grad norm %.2e\n", d.loss, d.grad_norm);
  EXPECT_LE(d.loss, kTolerance);
  EXPECT_LE(d.grad_norm, kTolerance);
}

TEST(Mixture, what_cannot_be_split_is_refused_with_the_numbers) {
  const Folder folder;
  const auto refusal = [&](const Overrides& overrides) {
    const e2e::Finished f = e2e::run(command(folder, "mixtral", "run", overrides));
    EXPECT_NE(f.exit_code, 0);
    return f.err;
  };
  Overrides six = settings(4, 4, {"expert_model_parallel_size=4"});
  six.emplace_back("model.num_moe_experts=6");
  EXPECT_THAT(refusal(six), HasSubstr("of size 6 cannot be split over mesh axis 'ep' of size 4"));
  EXPECT_THAT(refusal(settings(4, 2, {"expert_model_parallel_size=4", "tensor_model_parallel_size=2"})),
              HasSubstr("expert_model_parallel_size = 4 does not divide the 2 data ranks"));
  EXPECT_THAT(refusal(settings(2, 2, {"expert_model_parallel_size=2", "moe_expert_rank_capacity_factor=0.5"})),
              testing::AllOf(HasSubstr("has room for 64 rows of experts"), HasSubstr("moe_expert_rank_capacity_factor")));
  Overrides dense = settings(2, 2, {"expert_model_parallel_size=2"});
  const e2e::Finished f = e2e::run(command(folder, "llama", "run", dense));
  EXPECT_THAT(f.err, HasSubstr("the model has no experts"));
}

}  // namespace
}  // namespace nemo::distributed_test

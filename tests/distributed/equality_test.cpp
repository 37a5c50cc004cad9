// Every layout trains like one rank: loss and gradient norm of 20 steps in f32, dropout included.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/distributed/runner.hpp"

namespace nemo::distributed_test {
namespace {

constexpr double kTolerance = 1e-5;

std::vector<Layout> layouts() {
  return {
      {"ddp2", 2, {"strategy.plugin=ddp"}},
      {"ddp4", 4, {"strategy.plugin=ddp"}},
      {"zero1x2", 2, {"strategy.plugin=zero1"}},
      {"zero1x4 buckets", 4, {"strategy.plugin=zero1", "strategy.bucket_size=5000"}},
      {"zero2x2", 2, {"strategy.plugin=fsdp", "strategy.sharding_strategy=shard_grad_op"}},
      {"fsdp2", 2, {"strategy.plugin=fsdp"}},
      {"fsdp4", 4, {"strategy.plugin=fsdp"}},
      {"fsdp2 kept", 2, {"strategy.plugin=fsdp", "strategy.reshard_after_forward=false"}},
      {"fsdp4 recompute", 4, {"strategy.plugin=fsdp", "trainer.recompute=full"}},
      {"hybrid dp2 fsdp2", 4, {"strategy.plugin=fsdp", "strategy.num_replicas=2"}},
      {"tp2", 2, megatron({"tensor_model_parallel_size=2", "sequence_parallel=false"})},
      {"tp2+sp", 2, megatron({"tensor_model_parallel_size=2"})},
      {"tp2+sp turns", 2, megatron({"tensor_model_parallel_size=2", "tp_comm_overlap=true"})},
      {"tp2+sp kept", 2, {"strategy.plugin=megatron", "strategy.tensor_model_parallel_size=2", "trainer.regather=false"}},
      {"tp2+sp cp2 dp2 turns", 8, megatron({"tensor_model_parallel_size=2", "context_parallel_size=2", "tp_comm_overlap=true"})},
      {"fsdp4 prefetch 2", 4, {"strategy.plugin=fsdp", "strategy.prefetch=2"}},
      {"tp4+sp", 4, megatron({"tensor_model_parallel_size=4"})},
      {"tp2+sp dp2 zero1", 4, megatron({"tensor_model_parallel_size=2"})},
      {"tp2+sp fsdp2", 4, megatron({"tensor_model_parallel_size=2", "data_parallel_sharding_strategy=optim_grads_params"})},
      {"tp2+sp dp2", 4, megatron({"tensor_model_parallel_size=2", "use_distributed_optimizer=false"})},
      {"cp2", 2, megatron({"context_parallel_size=2"})},
      {"cp4", 4, megatron({"context_parallel_size=4"})},
      {"tp2+sp cp2 dp2", 8, megatron({"tensor_model_parallel_size=2", "context_parallel_size=2"})},
      {"cp2 a2a", 2, megatron({"context_parallel_size=2", "cp_comm_type=a2a"})},
      {"cp4 a2a", 4, megatron({"context_parallel_size=4", "cp_comm_type=a2a"})},
      {"tp2+sp cp2 dp2 a2a", 8, megatron({"tensor_model_parallel_size=2", "context_parallel_size=2", "cp_comm_type=a2a"})},
      {"cp2 p2p", 2, megatron({"context_parallel_size=2", "cp_comm_type=p2p"})},
      {"cp4 p2p", 4, megatron({"context_parallel_size=4", "cp_comm_type=p2p"})},
      {"tp2+sp cp2 dp2 p2p", 8, megatron({"tensor_model_parallel_size=2", "context_parallel_size=2", "cp_comm_type=p2p"})},
      {"cp2 fsdp2", 4, megatron({"context_parallel_size=2", "data_parallel_sharding_strategy=optim_grads_params"})},
      {"tp2+sp dp4 zero1", 8, megatron({"tensor_model_parallel_size=2"})},
  };
}

class Equality : public testing::TestWithParam<const char*> {};

TEST_P(Equality, every_layout_trains_like_one_rank) {
  const Folder folder;
  const std::string model = GetParam();
  const std::vector<Step> one = train(folder, model, "one", {"data.micro_batch_size=4"});
  ASSERT_EQ(one.size(), 20U);
  EXPECT_LT(one.back().loss, one.front().loss);
  std::printf("%-22s %-20s %14s %14s\n", model.c_str(), "layout", "loss", "grad norm");
  int n = 0;
  for (const Layout& layout : layouts()) {
    Overrides overrides = layout.overrides;
    overrides.push_back("trainer.devices=" + std::to_string(layout.ranks));
    const Difference d = difference(one, train(folder, model, "run" + std::to_string(n++), overrides));
    std::printf("%-22s %-20s %14.2e %14.2e\n", "", layout.name, d.loss, d.grad_norm);
    EXPECT_LE(d.loss, kTolerance) << layout.name;
    EXPECT_LE(d.grad_norm, kTolerance) << layout.name;
  }
}

INSTANTIATE_TEST_SUITE_P(models, Equality, testing::Values("gpt", "llama"), [](const auto& model) { return model.param; });

}  // namespace
}  // namespace nemo::distributed_test

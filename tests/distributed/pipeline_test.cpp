// Pipeline stages train like one rank, under every schedule, with tied tables, uneven stages, and beside tensor and data parallelism.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/distributed/runner.hpp"

namespace nemo::distributed_test {
namespace {

constexpr double kTolerance = 1e-5;

struct Stages {
  const char* name;
  int ranks;
  std::vector<const char*> settings;
};

const std::vector<Stages>& layouts() {
  static const std::vector<Stages> all{
      {"pp2", 2, {"pipeline_model_parallel_size=2"}},
      {"pp2 gpipe", 2, {"pipeline_model_parallel_size=2", "pipeline_schedule=gpipe"}},
      {"pp2 zb-h1", 2, {"pipeline_model_parallel_size=2", "pipeline_schedule=zb-h1"}},
      {"pp2 x vpp2", 2, {"pipeline_model_parallel_size=2", "virtual_pipeline_model_parallel_size=2"}},
      {"pp4 zb-h1", 4, {"pipeline_model_parallel_size=4", "pipeline_schedule=zb-h1"}},
      {"pp2 uneven", 2, {"pipeline_model_parallel_size=2", "pipeline_layers=[3,1]"}},
      {"tp2+sp pp2", 4, {"tensor_model_parallel_size=2", "pipeline_model_parallel_size=2"}},
      {"pp2 dp2 zero1", 4, {"pipeline_model_parallel_size=2"}},
      {"tp2 pp2 dp2", 8, {"tensor_model_parallel_size=2", "pipeline_model_parallel_size=2"}},
  };
  return all;
}

class Pipeline : public testing::TestWithParam<const char*> {};

TEST_P(Pipeline, stages_train_like_one_rank) {
  const Folder folder;
  const std::string model = GetParam();
  const Overrides common{"data.micro_batch_size=1", "model.num_layers=4", "trainer.val_check_interval=10"};
  const std::vector<Step> one = train(folder, model, "one", common);
  ASSERT_EQ(one.size(), 20U);
  std::printf("%-8s %-20s %14s %14s\n", model.c_str(), "layout", "loss", "grad norm");
  int n = 0;
  for (const Stages& layout : layouts()) {
    Overrides overrides = common;
    overrides.push_back("strategy.plugin=megatron");
    overrides.push_back("trainer.devices=" + std::to_string(layout.ranks));
    for (const char* setting : layout.settings) overrides.push_back("strategy." + std::string(setting));
    const Difference d = difference(one, train(folder, model, "run" + std::to_string(n++), overrides));
    std::printf("%-8s %-20s %14.2e %14.2e\n", "", layout.name, d.loss, d.grad_norm);
    EXPECT_LE(d.loss, kTolerance) << layout.name;
    EXPECT_LE(d.grad_norm, kTolerance) << layout.name;
  }
}

INSTANTIATE_TEST_SUITE_P(models, Pipeline, testing::Values("gpt", "llama"), [](const auto& model) { return model.param; });

}  // namespace
}  // namespace nemo::distributed_test

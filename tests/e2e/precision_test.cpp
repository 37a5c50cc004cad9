// Precisions as a user meets them: loss scaling that skips and recovers, and runs of every precision that resume exactly.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/e2e/same_tensors.hpp"
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class PrecisionRun : public Sandbox {
 protected:
  static constexpr int64_t kSteps = 40;

  static Words settings(const Words& more) {
    Words all{"trainer.max_steps=" + std::to_string(kSteps), "checkpoint.every_n_steps=4", "trainer.val_check_interval=20"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  size_t lines(const std::string& name) const {
    const std::string text = read(run_folder(name) / "metrics.jsonl");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  // Killed three times on its way.
  void expect_exact_resume(const Words& more, const Words& fields) {
    const Words all = settings(more);
    ASSERT_THAT(pretrain("calm", all), succeeds());
    for (const size_t enough : {size_t{5}, size_t{14}, size_t{26}}) {
      Process process(pretraining("killed", all));
      while (!process.has_ended() && lines("killed") < enough) std::this_thread::sleep_for(std::chrono::microseconds(200));
      process.send(SIGKILL);
      (void)process.wait();
    }
    ASSERT_THAT(pretrain("killed", all), succeeds());
    for (const std::string& field : fields) EXPECT_EQ(column("calm", field), column("killed", field)) << field;
    EXPECT_EQ(tensor_difference(checkpoint("calm", kSteps), checkpoint("killed", kSteps)), "");
  }
};

TEST_F(PrecisionRun, fp16_skips_steps_that_overflow_and_counts_only_the_others) {
  ASSERT_THAT(pretrain("run", settings({"precision.plugin=fp16-mixed", "precision.loss_scale_window=6", "optim.schedule.type=linear",
                                        "optim.schedule.warmup_steps=10"})),
              succeeds());
  const std::vector<double> scale = column("run", "loss_scale"), skipped = column("run", "skipped"), lr = column("run", "lr");
  ASSERT_EQ(scale.size(), static_cast<size_t>(kSteps));
  EXPECT_EQ(scale[0], 4294967296.0);
  EXPECT_EQ(scale[1], scale[0]) << "two overflows halve";
  EXPECT_LT(scale.back(), 1e7);
  EXPECT_GT(skipped.back(), 5);
  for (size_t i = 1; i < lr.size(); ++i) {
    const bool after_skip = skipped[i - 1] > (i > 1 ? skipped[i - 2] : 0);
    EXPECT_TRUE(!after_skip || lr[i] == lr[i - 1]) << "a skipped step moved the schedule: " << i;
  }
  EXPECT_LT(column("run", "loss").back(), column("run", "loss").front());
}

TEST_F(PrecisionRun, fp16_resumes_exactly) {
  expect_exact_resume({"precision.plugin=fp16-mixed", "precision.loss_scale_window=6"},
                      {"step", "loss", "lr", "loss_scale", "skipped", "val_loss"});
}

TEST_F(PrecisionRun, fp8_with_delayed_scaling_resumes_exactly) {
  expect_exact_resume({"precision.plugin=fp8", "precision.recipe=delayed", "precision.amax_history_len=16"},
                      {"step", "loss", "grad_norm", "lr", "val_loss"});
}

TEST_F(PrecisionRun, bf16_gradients_and_moments_resume_exactly) {
  expect_exact_resume(
      {"precision.plugin=bf16-mixed", "precision.grad_dtype=bf16", "precision.exp_avg_dtype=bf16", "precision.exp_avg_sq_dtype=bf16"},
      {"step", "loss", "grad_norm", "lr", "val_loss"});
}

TEST_F(PrecisionRun, bf16_gradients_resume_exactly) {
  expect_exact_resume({"precision.plugin=bf16-mixed", "precision.grad_dtype=bf16"}, {"step", "loss", "grad_norm", "lr", "val_loss"});
}

TEST_F(PrecisionRun, a_dry_run_names_what_bf16_gradients_lose_over_many_micro_batches) {
  const auto dry = [&](const std::string& batch, const std::string& dtype) {
    const Finished end = nemo({"--recipe", "tiny.toml", "--dry-run", "precision.plugin=bf16-mixed", "precision.grad_dtype=" + dtype,
                               "data.micro_batch_size=1", "data.global_batch_size=" + batch});
    EXPECT_THAT(end, succeeds());
    return end.out + end.err;
  };
  const auto named = HasSubstr("summed in 16 bits over 9 micro-batches");
  EXPECT_THAT(dry("9", "bf16"), named);
  EXPECT_THAT(dry("8", "bf16"), testing::Not(HasSubstr("summed in 16 bits")));
  EXPECT_THAT(dry("9", "f32"), testing::Not(HasSubstr("summed in 16 bits")));
}

TEST_F(PrecisionRun, a_loss_scale_below_its_minimum_is_placed) {
  EXPECT_THAT(pretrain("run", {"precision.plugin=fp16-mixed", "precision.min_loss_scale=8", "precision.loss_scale=4"}),
              fails_with(kUsage, "min_loss_scale", "above loss_scale"));
}

}  // namespace
}  // namespace nemo::e2e

// What a training run computes does not depend on how it is computed.
#include <cmath>

#include "tests/e2e/same_tensors.hpp"
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class Training : public Sandbox {
 protected:
  // Losses of a run that must succeed.
  std::vector<double> losses(const std::string& name, const Words& overrides) {
    EXPECT_THAT(pretrain(name, overrides), succeeds());
    std::vector<double> values = column(name, "loss");
    EXPECT_EQ(values.size(), 12u);
    for (const double v : values) EXPECT_TRUE(std::isfinite(v));
    return values;
  }

  static double largest_relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
    double most = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::abs(a[i] - b[i]) / std::abs(b[i]));
    return most;
  }
};

TEST_F(Training, lowers_the_loss) {
  const std::vector<double> loss = losses("run", {"optim.lr=1e-2"});
  EXPECT_LT(loss.back(), 0.9 * loss.front());
  const std::vector<double> validation = column("run", "val_loss");
  ASSERT_EQ(validation.size(), 3u);
  EXPECT_LT(validation.back(), validation.front());
}

TEST_F(Training, two_runs_of_a_recipe_give_the_same_bits) {
  for (const char* precision : {"fp32", "bf16-mixed", "fp64"}) {
    const std::string name = precision, override = "precision.plugin=" + name;
    EXPECT_EQ(losses(name + "-a", {override, "model.hidden_dropout=0.1"}), losses(name + "-b", {override, "model.hidden_dropout=0.1"}));
    EXPECT_EQ(column(name + "-a", "val_loss"), column(name + "-b", "val_loss"));
    EXPECT_EQ(tensor_difference(checkpoint(name + "-a", 12), checkpoint(name + "-b", 12)), "");
  }
}

TEST_F(Training, another_seed_gives_another_run) { EXPECT_NE(losses("a", {}), losses("b", {"job.seed=8"})); }

TEST_F(Training, bits_do_not_depend_on_the_number_of_threads) {
  const std::vector<double> one = losses("one", {"backend.threads=1"});
  EXPECT_EQ(one, losses("two", {"backend.threads=2"}));
  EXPECT_EQ(one, losses("five", {"backend.threads=5"}));
}

TEST_F(Training, gradient_accumulation_is_one_large_batch) {
  const std::vector<double> whole = losses("whole", {}), parts = losses("parts", {"data.micro_batch_size=2"}),
                            norms = column("parts", "grad_norm");
  EXPECT_LE(largest_relative_difference(parts, whole), 1e-6);
  EXPECT_LE(largest_relative_difference(norms, column("whole", "grad_norm")), 1e-5);
}

TEST_F(Training, recompute_changes_no_bit) {
  for (const char* precision : {"fp32", "bf16-mixed"}) {
    const std::string name = precision;
    const Words settings{"precision.plugin=" + name, "model.hidden_dropout=0.1"};
    const std::vector<double> none = losses(name + "-none", settings);
    for (const char* recompute : {"selective", "full"}) {
      EXPECT_EQ(none, losses(name + "-" + recompute, {settings[0], settings[1], std::string("trainer.recompute=") + recompute}))
          << recompute;
      EXPECT_EQ(tensor_difference(checkpoint(name + "-none", 12), checkpoint(name + "-" + recompute, 12)), "") << recompute;
    }
  }
}

TEST_F(Training, mixed_bf16_stays_near_fp32) {
  const std::vector<double> full = losses("fp32", {}), mixed = losses("bf16", {"precision.plugin=bf16-mixed"});
  EXPECT_NE(full, mixed);
  EXPECT_LE(largest_relative_difference(mixed, full), 2e-3);
}

TEST_F(Training, fp64_confirms_fp32) {
  EXPECT_LE(largest_relative_difference(losses("fp32", {}), losses("fp64", {"precision.plugin=fp64"})), 1e-5);
}

TEST_F(Training, each_optimizer_and_schedule_trains) {
  for (const char* setting : {"optim.optimizer=sgd", "optim.schedule.type=linear", "optim.schedule.type=cosine", "optim.schedule.type=wsd"})
    losses(setting,
           {setting, "optim.lr=1e-2", "optim.schedule.warmup_steps=2", "optim.schedule.decay_steps=4", "trainer.val_check_interval=0"});
  EXPECT_EQ(column("optim.schedule.type=wsd", "lr")[4], 1e-2);
  EXPECT_LT(column("optim.schedule.type=wsd", "lr")[11], 1e-2);
}

TEST_F(Training, llama_trains_as_well) {
  write("llama.toml",
        "base = \"tiny.toml\"\n[model]\nplugin = \"llama\"\nffn_hidden_size = 64\nnum_query_groups = 1\nmax_position_embeddings = 16\n");
  ASSERT_THAT(nemo({"pretrain", "--recipe", "llama.toml", "optim.lr=1e-2"}), succeeds());
  EXPECT_LT(column("llama", "loss").back(), 0.9 * column("llama", "loss").front());
}

TEST_F(Training, a_loss_that_is_no_number_ends_the_run_with_advice) {
  EXPECT_THAT(pretrain("run", {"optim.lr=1e30"}), fails_with(kFailed, "step ", "gradient norm", "lower optim.lr"));
}

TEST_F(Training, a_run_folder_has_recipe_metrics_and_checkpoints) {
  ASSERT_THAT(pretrain("run"), succeeds());
  EXPECT_THAT(read(run_folder("run") / "recipe.toml"),
              AllOf(HasSubstr("name = \"run\""), HasSubstr("max_steps = 12"), HasSubstr("weight_decay = 0.1")));
  int64_t step = 0;
  for (const nlohmann::json& line : metrics("run")) {
    EXPECT_EQ(line["step"], ++step);
    for (const char* field : {"loss", "grad_norm", "lr", "tokens_per_s", "step_ms"})
      EXPECT_TRUE(line.contains(field) && line[field].is_number()) << field;
    EXPECT_EQ(line.contains("val_loss"), step % 4 == 0);
  }
  EXPECT_EQ(step, 12);
  EXPECT_EQ(checkpoints("run"), (Words{"step_00000004", "step_00000008", "step_00000012"}));
}

TEST_F(Training, a_run_starts_again_from_its_own_resolved_recipe) {
  ASSERT_THAT(pretrain("run", {"optim.lr=2e-3"}), succeeds());
  ASSERT_THAT(nemo({"pretrain", "--recipe", "runs/run/recipe.toml", "job.name=again"}), succeeds());
  EXPECT_EQ(column("again", "loss"), column("run", "loss"));
}

}  // namespace
}  // namespace nemo::e2e

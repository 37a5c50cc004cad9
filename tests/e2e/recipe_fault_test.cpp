// A wrong recipe: exit code 2, and a message with place, fault and remedy.
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class RecipeFault : public Sandbox {
 protected:
  Finished with(const std::string& lines) {
    write("wrong.toml", "base = \"tiny.toml\"\n" + lines);
    return nemo({"pretrain", "--recipe", "wrong.toml"});
  }
};

TEST_F(RecipeFault, an_unknown_key_is_placed_and_the_nearest_is_named) {
  EXPECT_THAT(with("[model]\nhiden_size = 3\n"),
              fails_with(kUsage, "wrong.toml:3:1: model.hiden_size: unknown key", "did you mean model.hidden_size?"));
  EXPECT_THAT(with("[optim]\n  schedule.warmup_step = 3\n"),
              fails_with(kUsage, "wrong.toml:3:12: optim.schedule.warmup_step: unknown key", "did you mean optim.schedule.warmup_steps"));
  EXPECT_THAT(pretrain("run", {"trainer.max_step=3"}),
              fails_with(kUsage, "command line: trainer.max_step=3: unknown key", "trainer.max_steps?"));
}

TEST_F(RecipeFault, an_unknown_section_is_placed_and_the_nearest_is_named) {
  EXPECT_THAT(with("[trainr]\nmax_steps = 3\n"), fails_with(kUsage, "wrong.toml:", "trainr", "did you mean", "trainer"));
}

TEST_F(RecipeFault, a_wrong_type_says_what_was_expected_and_found) {
  EXPECT_THAT(with("[model]\nnum_layers = \"two\"\n"),
              fails_with(kUsage, "wrong.toml:3:1: model.num_layers: expected an integer, found the string \"two\""));
  EXPECT_THAT(with("[optim]\nbetas = 0.9\n"), fails_with(kUsage, "wrong.toml:3:1: optim.betas: expected "));
  EXPECT_THAT(pretrain("run", {"optim.lr=fast"}), fails_with(kUsage, "command line: optim.lr=fast: expected a number", "\"fast\""));
}

TEST_F(RecipeFault, out_of_range_says_the_range) {
  EXPECT_THAT(with("[model]\nnum_layers = 0\n"),
              fails_with(kUsage, "wrong.toml:3:1: model.num_layers: 0 is out of range; expected at least 1"));
  EXPECT_THAT(with("[model]\nhidden_dropout = 1.5\n"), fails_with(kUsage, "wrong.toml:3:1: model.hidden_dropout: 1.5 is out of range"));
  EXPECT_THAT(with("[optim]\noptimizer = \"adam\"\n"),
              fails_with(kUsage, "wrong.toml:3:1: optim.optimizer: \"adam\" is not one of adamw, sgd"));
  EXPECT_THAT(with("[optim]\nbetas = [0.9]\n"), fails_with(kUsage, "wrong.toml:3:1: optim.betas: expected two numbers, found 1"));
}

TEST_F(RecipeFault, all_faults_are_told_at_once) {
  EXPECT_THAT(with("[model]\nhiden_size = 3\nnum_layers = \"two\"\n[optim]\nlr = -1.0\n"),
              fails_with(kUsage, "wrong.toml:3:1: model.hiden_size", "wrong.toml:4:1: model.num_layers",
                         "wrong.toml:6:1: optim.lr: -1.0 is out of range"));
}

TEST_F(RecipeFault, a_missing_setting_says_where_to_add_it) {
  write("few.toml", "[model]\nplugin = \"gpt\"\n");
  EXPECT_THAT(nemo({"--recipe", "few.toml"}), fails_with(kUsage, "few.toml: data.plugin: required, and not set", "under [data]"));
}

TEST_F(RecipeFault, broken_toml_is_placed) {
  write("bad.toml", "[job]\nname = \"x\n");
  EXPECT_THAT(nemo({"--recipe", "bad.toml"}), fails_with(kUsage, "bad.toml:2:", "bad TOML"));
}

TEST_F(RecipeFault, a_recipe_that_is_not_there_says_where_it_was_searched) {
  EXPECT_THAT(nemo({"--recipe", "quickstrat"}), fails_with(kUsage, "quickstrat not found", "searched", "share/nemo/recipes", "quickstart"));
}

TEST_F(RecipeFault, no_recipe_is_bad_usage) {
  EXPECT_THAT(nemo({"pretrain"}), fails_with(kUsage, "no recipe given", "usage: nemo-host pretrain --recipe FILE", "recipes list"));
}

TEST_F(RecipeFault, a_malformed_override_shows_the_form) {
  EXPECT_THAT(pretrain("run", {"verbose"}), fails_with(kUsage, "'verbose'", "section.key=value"));
  EXPECT_THAT(pretrain("run", {"=3"}), fails_with(kUsage, "=3", "section.setting=value"));
  EXPECT_THAT(pretrain("run", {"model.=3"}), fails_with(kUsage, "model.=3", "section.setting=value"));
  EXPECT_THAT(pretrain("run", {"lr=3"}), fails_with(kUsage, "lr=3", "section.lr=value"));
}

TEST_F(RecipeFault, a_global_batch_is_a_multiple_of_the_micro_batch) {
  EXPECT_THAT(with("[data]\nmicro_batch_size = 3\n"),
              fails_with(kUsage, "tiny.toml:", "data.global_batch_size: 8 is no multiple of micro_batch_size = 3"));
}

TEST_F(RecipeFault, a_sequence_fits_into_the_positions) {
  EXPECT_THAT(with("[model]\nmax_position_embeddings = 8\n"), fails_with(kUsage, "wrong.toml:3:1: model.max_position_embeddings",
                                                                         "data.seq_length = 16 exceeds max_position_embeddings = 8"));
}

TEST_F(RecipeFault, heads_divide_the_width) {
  EXPECT_THAT(with("[model]\nnum_attention_heads = 3\n"),
              fails_with(kUsage, "wrong.toml:3:1: model.num_attention_heads", "does not divide hidden_size = 32"));
}

TEST_F(RecipeFault, more_devices_than_the_strategy_serves_are_refused) {
  EXPECT_THAT(with("[trainer]\ndevices = 2\n"), fails_with(kUsage, "single", "trainer.devices = 1"));
}

TEST_F(RecipeFault, a_gpu_that_is_not_there_is_an_error_only_if_demanded) {
  const Finished end = pretrain("run", {"trainer.accelerator=gpu"});
  if (end.exit_code == kDone) GTEST_SKIP() << "this machine has a GPU backend and a GPU";
  EXPECT_THAT(end, fails_with(kUsage, "trainer.accelerator=gpu", "no GPU can be used", "trainer.accelerator=cpu"));
}

TEST_F(RecipeFault, a_task_that_cannot_be_run_says_which_can) {
  EXPECT_THAT(nemo({"--recipe", "tiny.toml", "job.task=generate"}), fails_with(kUsage, "job.task=generate", "pretrain and validate"));
  EXPECT_THAT(nemo({"--recipe", "tiny.toml", "job.task=dance"}), fails_with(kUsage, "job.task=dance", "is not one of pretrain"));
}

TEST_F(RecipeFault, a_run_name_names_one_folder) {
  EXPECT_THAT(pretrain("a/b"), fails_with(kUsage, "job.name=a/b", "cannot name a folder"));
  EXPECT_THAT(pretrain(".."), fails_with(kUsage, "job.name=..", "cannot name a folder"));
}

TEST_F(RecipeFault, a_faulty_recipe_leaves_no_run_folder) {
  ASSERT_EQ(with("[model]\nhiden_size = 3\n").exit_code, kUsage);
  EXPECT_FALSE(fs::exists(folder() / "runs"));
}

TEST_F(RecipeFault, a_model_that_is_too_large_is_refused_before_memory_is_taken) {
  const Finished end = pretrain("huge", {"model.num_layers=96", "model.hidden_size=24576", "model.num_attention_heads=96"});
  EXPECT_THAT(end, fails_with(kFailed, "does not fit", "parameters", "optimizer second moment", "activations", "DOES NOT FIT",
                              "settings that fit", "smaller model"));
  EXPECT_LT(end.peak_rss_kib, 1 << 20);
  EXPECT_FALSE(fs::exists(run_folder("huge")));
}

TEST_F(RecipeFault, faults_of_all_sections_are_told_together) {
  EXPECT_THAT(with("[model]\nhiden_size = 3\n[optim]\nlr = \"fast\"\n[data]\nmicro_batch_size = -1\n[trainer]\nmax_steps = "
                   "-5\n[log]\nloggers = 3\n"),
              fails_with(kUsage, "model.hiden_size", "optim.lr", "data.micro_batch_size", "trainer.max_steps", "log.loggers"));
}

TEST_F(RecipeFault, a_batch_that_is_too_large_is_refused_with_settings_that_fit) {
  const Finished end = pretrain("huge", {"data.micro_batch_size=33554432", "data.global_batch_size=33554432"});
  EXPECT_THAT(end, fails_with(kFailed, "does not fit", "largest activations at the peak", "data.micro_batch_size=1 would take"));
  EXPECT_LT(end.peak_rss_kib, 1 << 20);
}

}  // namespace
}  // namespace nemo::e2e

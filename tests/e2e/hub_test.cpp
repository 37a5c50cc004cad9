// Hugging Face folders through the command line: in, used by every command, trained on, and out.
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

const std::string kLlama = NEMO_SOURCE_DIR "/tests/golden/models/llama";

class Hub : public Sandbox {};

TEST_F(Hub, an_imported_model_is_validated_trained_and_exported) {
  const std::string start = "runs/tuned/checkpoints/step_00000000";
  const Finished imported = nemo({"import", "--from", kLlama, "--to", start});
  ASSERT_THAT(imported, succeeds());
  EXPECT_THAT(imported.out, HasSubstr("imported 21 parameters"));
  const Words small{"data.seq_length=16", "data.global_batch_size=2", "trainer.limit_val_batches=1", "trainer.accelerator=cpu",
                    "job.name=tuned"};
  Words validate{"validate", "--recipe", start + "/recipe.toml"},
      pretrain{"pretrain", "--recipe", start + "/recipe.toml", "trainer.max_steps=2"};
  validate.insert(validate.end(), small.begin(), small.end());
  pretrain.insert(pretrain.end(), small.begin(), small.end());
  const Finished before = nemo(validate);
  ASSERT_THAT(before, succeeds());
  EXPECT_THAT(before.out, HasSubstr("val_loss 5."));
  EXPECT_THAT(nemo(pretrain), succeeds("resumed from runs/tuned/checkpoints/step_00000000 at step 0"));
  const Finished out = nemo({"export", "--from", "runs/tuned", "--to", "out", "--like", kLlama, "--dtype", "bf16"});
  ASSERT_THAT(out, succeeds());
  EXPECT_THAT(out.out, HasSubstr("exported 21 tensors"));
  EXPECT_THAT(read("out/config.json"), AllOf(HasSubstr("\"dtype\": \"bfloat16\""), HasSubstr("\"intermediate_size\": 112")));
  EXPECT_THAT(nemo({"import", "--from", "out", "--to", "again"}), succeeds());
}

TEST_F(Hub, parity_says_what_it_compared_and_ends_with_1_where_a_bound_is_missed) {
  const Finished good = nemo({"parity", kLlama});
  EXPECT_THAT(good, succeeds());
  EXPECT_THAT(good.out, AllOf(HasSubstr("greedy tokens"), HasSubstr("\nparity\n")));
  const Finished other =
      nemo({"parity", NEMO_SOURCE_DIR "/tests/golden/models/llama_linear_rope", "--golden", kLlama + "/golden.safetensors"});
  EXPECT_EQ(other.exit_code, kFailed);
  EXPECT_THAT(other.out, HasSubstr("MISSED"));
}

TEST_F(Hub, wrong_folders_and_options_are_one_clear_error) {
  EXPECT_THAT(nemo({"import", "--from", ".", "--to", "x"}), fails_with(kFailed, "is no Hugging Face model folder: it has no config.json"));
  EXPECT_THAT(nemo({"import", "--from", kLlama, "--to", "."}), fails_with(kUsage, "exists; name a new folder"));
  EXPECT_THAT(nemo({"export", "--from", "nowhere", "--to", "x"}), fails_with(kFailed, "no checkpoint in 'nowhere'"));
  ASSERT_THAT(nemo({"import", "--from", kLlama, "--to", "x"}), succeeds());
  EXPECT_THAT(nemo({"export", "--from", "x", "--to", "y", "--dtype", "int8"}), fails_with(kUsage, "'int8' is no dtype of weights"));
  EXPECT_THAT(nemo({"export", "--from", "x", "--to", "y", "--max-shard-size", "5 parsecs"}), fails_with(kUsage, "is no size"));
  EXPECT_THAT(nemo({"import", "--from", kLlama, "--to", "z", "model.hiden_size=3"}), fails_with(kUsage, "hidden_size"));
}

TEST_F(Hub, a_variant_sets_what_the_recipe_leaves_open) {
  write("v.toml",
        "[model]\nplugin = \"llama\"\nvariant = \"llama32_1b\"\nnum_layers = 2\n[data]\nplugin = \"mock\"\nseq_length = "
        "16\n[trainer]\naccelerator = \"cpu\"\n");
  const Finished end = nemo({"--recipe", "v.toml", "--dry-run"});
  ASSERT_THAT(end, succeeds());
  EXPECT_THAT(end.out, AllOf(HasSubstr("2048"), HasSubstr("variant llama32_1b of model 'llama'")));
  write("w.toml", "[model]\nplugin = \"llama\"\nvariant = \"llama3_8\"\n[data]\nplugin = \"mock\"\n");
  EXPECT_THAT(nemo({"--recipe", "w.toml", "--dry-run"}), fails_with(kUsage, "w.toml:3:1: model.variant", "did you mean 'llama3_8b'?"));
}

}  // namespace
}  // namespace nemo::e2e

// validate and generate, from a checkpoint.
#include <cmath>

#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class Inference : public Sandbox {
 protected:
  void SetUp() override { ASSERT_THAT(pretrain("run", {"optim.lr=1e-2"}), succeeds()); }

  Finished generate(const Words& options) {
    Words all{"generate", "--checkpoint", "runs/run", "--prompt", "the ", "--max-tokens", "40"};
    all.insert(all.end(), options.begin(), options.end());
    return nemo(all);
  }

  std::string text(const Words& options) {
    const Finished end = generate(options);
    EXPECT_THAT(end, succeeds());
    EXPECT_EQ(end.out.size(), 4u + 40u + 1u) << end.out;  // prompt, tokens of one character, newline
    EXPECT_EQ(end.out.substr(0, 4), "the ");
    return end.out;
  }
};

TEST_F(Inference, validate_measures_the_loss_that_training_logged) {
  const Finished end = nemo({"validate", "--recipe", "tiny.toml", "job.name=run"});
  ASSERT_THAT(end, succeeds());
  EXPECT_THAT(end.out, AllOf(HasSubstr("val_loss "), HasSubstr("step_00000012")));
  EXPECT_NEAR(std::stod(end.out.substr(9)), column("run", "val_loss").back(), 1e-5);
}

TEST_F(Inference, validate_takes_a_run_folder_or_one_checkpoint) {
  const Finished newest = nemo({"validate", "--recipe", "tiny.toml", "--checkpoint", "runs/run"});
  const Finished older = nemo({"validate", "--recipe", "tiny.toml", "--checkpoint", "runs/run/checkpoints/step_00000004"});
  ASSERT_THAT(newest, succeeds());
  ASSERT_THAT(older, succeeds());
  EXPECT_NEAR(std::stod(newest.out.substr(9)), column("run", "val_loss")[2], 1e-5);
  EXPECT_NEAR(std::stod(older.out.substr(9)), column("run", "val_loss")[0], 1e-5);
}

TEST_F(Inference, the_task_of_the_recipe_can_be_validate) {
  const Finished end = nemo({"--recipe", "tiny.toml", "job.task=validate", "job.name=run"});
  EXPECT_THAT(end, succeeds());
  EXPECT_THAT(end.out, HasSubstr("val_loss "));
}

TEST_F(Inference, greedy_text_is_the_same_every_time) {
  const std::string greedy = text({"--temperature", "0"});
  EXPECT_EQ(greedy, text({"--temperature", "0", "--seed", "9"}));
  EXPECT_EQ(greedy, text({"--temperature", "0", "--top-k", "3", "--top-p", "0.5"}));
  EXPECT_EQ(greedy, text({"--top-k", "1"}));
}

TEST_F(Inference, a_seed_fixes_the_samples_and_another_changes_them) {
  const std::string first = text({"--seed", "1"});
  EXPECT_EQ(first, text({"--seed", "1"}));
  EXPECT_NE(first, text({"--seed", "2"}));
}

TEST_F(Inference, top_k_and_top_p_narrow_the_samples) {
  EXPECT_NE(text({"--seed", "1", "--top-k", "2"}), text({"--seed", "1"}));
  EXPECT_NE(text({"--seed", "1", "--top-p", "0.3"}), text({"--seed", "1"}));
  EXPECT_EQ(text({"--seed", "1", "--top-k", "1000", "--top-p", "1"}), text({"--seed", "1"}));
}

TEST_F(Inference, text_goes_on_beyond_the_context) {
  const Finished end = generate({"--max-tokens", "100", "--prompt", std::string("the king and the queen and the king and ")});
  EXPECT_EQ(end.exit_code, kUsage) << "an option given twice is refused";
  const Finished longer =
      nemo({"generate", "--checkpoint", "runs/run", "--prompt", "the king and the queen and the king and ", "--max-tokens", "100"});
  EXPECT_THAT(longer, succeeds());
  EXPECT_EQ(longer.out.size(), 40u + 100u + 1u);
}

TEST_F(Inference, no_tokens_asked_for_is_the_prompt_alone) {
  const Finished end = nemo({"generate", "--checkpoint", "runs/run", "--prompt", "the", "--max-tokens", "0"});
  EXPECT_THAT(end, succeeds());
  EXPECT_EQ(end.out, "the\n");
}

TEST_F(Inference, options_out_of_range_are_refused) {
  for (const Words& options :
       std::vector<Words>{{"--top-p", "1.5"}, {"--top-p", "0"}, {"--top-k", "-1"}, {"--temperature", "-0.5"}, {"--temperature", "nan"}})
    EXPECT_THAT(generate(options), fails_with(kUsage, options[0])) << options[0] << " " << options[1];
  EXPECT_THAT(nemo({"generate", "--checkpoint", "runs/run", "--prompt", "the", "--max-tokens", "-1"}), fails_with(kUsage, "--max-tokens"));
  EXPECT_THAT(generate({"--top-k", "few"}), fails_with(kUsage, "'few'", "--top-k", "usage: "));
}

TEST_F(Inference, a_prompt_that_the_tokenizer_cannot_read_is_refused_without_output) {
  const Finished strange = nemo({"generate", "--checkpoint", "runs/run", "--prompt", "\xC3\xA9t\xC3\xA9"});
  EXPECT_THAT(strange, fails_with(kFailed, "U+00E9", "training text"));
  EXPECT_EQ(strange.out, "");
  EXPECT_THAT(nemo({"generate", "--checkpoint", "runs/run", "--prompt", ""}), fails_with(kUsage, "prompt is empty"));
}

TEST_F(Inference, generate_needs_a_checkpoint_and_a_prompt) {
  EXPECT_THAT(nemo({"generate", "--prompt", "the"}), fails_with(kUsage, "--checkpoint is missing", "usage: "));
  EXPECT_THAT(nemo({"generate", "--checkpoint", "runs/run"}), fails_with(kUsage, "--prompt is missing", "usage: "));
  EXPECT_THAT(nemo({"generate", "--checkpoint", "runs/none", "--prompt", "the"}),
              fails_with(kFailed, "no checkpoint in 'runs/none'", "checkpoints/"));
}

TEST_F(Inference, a_model_of_token_ids_cannot_read_a_prompt) {
  write("ids.toml", "base = \"tiny.toml\"\n[tokenizer]\ntype = \"none\"\n[model]\nvocab_size = 50\n");
  write("mock.toml", R"([model]
plugin = "gpt"
num_layers = 1
hidden_size = 16
num_attention_heads = 2
vocab_size = 50
[data]
plugin = "mock"
vocab_size = 50
seq_length = 8
[trainer]
max_steps = 1
)");
  ASSERT_THAT(nemo({"pretrain", "--recipe", "mock.toml"}), succeeds());
  EXPECT_THAT(nemo({"generate", "--checkpoint", "runs/mock", "--prompt", "the"}), fails_with(kUsage, "has no tokenizer"));
}

TEST_F(Inference, a_checkpoint_is_whole_without_the_text_it_was_trained_on) {
  const std::string before = text({"--temperature", "0"});
  fs::rename(folder() / "corpus.txt", folder() / "elsewhere.txt");
  EXPECT_EQ(text({"--temperature", "0"}), before);
}

}  // namespace
}  // namespace nemo::e2e

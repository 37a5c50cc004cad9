// generate --chat: a conversation on standard input.
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class Chat : public Sandbox {
 protected:
  void SetUp() override {
    ASSERT_THAT(pretrain("run", {"optim.lr=1e-2", "data.seq_length=96", "trainer.max_steps=40", "checkpoint.every_n_steps=40"}),
                succeeds());
    write("runs/run/checkpoints/step_00000040/tokenizer/chat_template.jinja",
          "{% for m in messages %}{{ m.content }}.\n{% endfor %}{% if add_generation_prompt %}the {% endif %}");
  }

  // What the program answers to `lines`, each ended by "\n" in a shell's printf.
  Finished talk(const std::string& lines, const Words& options = {}) {
    std::string command = "printf '" + lines + "' | \"$0\" \"$@\"";
    Command told = host({"generate", "--checkpoint", "runs/run", "--temperature", "0", "--max-tokens", "30", "--chat"});
    told.arguments.insert(told.arguments.end(), options.begin(), options.end());
    told.arguments.insert(told.arguments.begin(), {"/bin/sh", "-c", command});
    return run(told);
  }

  // What generate adds to the prompt up to the stop text.
  std::string reply(const std::string& prompt, const std::string& stop = ".") {
    const Finished end =
        nemo({"generate", "--checkpoint", "runs/run", "--temperature", "0", "--max-tokens", "30", "--prompt", prompt, "--stop", stop});
    EXPECT_THAT(end, succeeds());
    EXPECT_TRUE(end.out.starts_with(prompt)) << end.out;
    return end.out.substr(prompt.size(), end.out.size() - prompt.size() - 1);
  }
};

TEST_F(Chat, each_line_is_answered_in_the_light_of_the_conversation_so_far) {
  const std::string first = reply("king.\nthe ");
  ASSERT_NE(first, "");
  const std::string second = reply("king.\n" + first + ".\nlove of night.\nthe ");
  const Finished both = talk("king\\n\\n \\nlove of night\\n");
  EXPECT_THAT(both, succeeds());
  EXPECT_EQ(both.out, first + "\n" + second + "\n");
  EXPECT_EQ(talk("king").out, first + "\n") << "a last line without its end counts";
  EXPECT_EQ(talk("").out, "");
}

TEST_F(Chat, a_system_message_opens_the_conversation) {
  const Finished end = talk("king\\n", {"--system", "death in Verona"});
  EXPECT_THAT(end, succeeds());
  EXPECT_EQ(end.out, reply("death in Verona.\nking.\nthe ") + "\n");
}

TEST_F(Chat, a_reply_ends_at_the_tokens_of_generation_config) {
  fs::create_directories(checkpoint("run", 40) / "hf");
  write("runs/run/checkpoints/step_00000040/hf/generation_config.json", R"({"eos_token_id": [1]})");  // 1: the space
  const Finished end = talk("king\\n");
  EXPECT_THAT(end, succeeds());
  EXPECT_EQ(end.out, reply("king.\nthe ", " ") + "\n");
}

TEST_F(Chat, a_checkpoint_without_a_template_and_wrong_options_are_refused) {
  EXPECT_THAT(talk("", {"--prompt", "the"}), fails_with(kUsage, "--chat reads standard input"));
  EXPECT_THAT(nemo({"generate", "--checkpoint", "runs/run", "--prompt", "the", "--system", "no"}),
              fails_with(kUsage, "--system belongs to --chat"));
  fs::remove(checkpoint("run", 40) / "tokenizer/chat_template.jinja");
  EXPECT_THAT(talk("king\\n"), fails_with(kFailed, "no chat template here"));
}

}  // namespace
}  // namespace nemo::e2e

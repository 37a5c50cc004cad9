// Generation by a model that keeps a state of all tokens: prompts, batches, conversations.
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

constexpr const char* kHybrid = R"([job]
seed = 7
[model]
plugin = "nemotron_h"
hybrid_override_pattern = "M*-M"
num_layers = 4
hidden_size = 32
ffn_hidden_size = 48
num_attention_heads = 2
mamba_num_heads = 4
mamba_head_dim = 8
mamba_state_dim = 8
mamba_num_groups = 1
[tokenizer]
type = "char"
[data]
plugin = "text"
files = ["corpus.txt"]
sampling = "random"
seq_length = 96
micro_batch_size = 4
global_batch_size = 4
[optim]
lr = 1e-2
[trainer]
max_steps = 40
[log]
loggers = ["jsonl"]
[checkpoint]
every_n_steps = 40
)";

class StateSpace : public Sandbox {
 protected:
  void SetUp() override {
    write("ssm.toml", kHybrid);
    ASSERT_THAT(nemo({"pretrain", "--recipe", "ssm.toml", "job.name=run"}), succeeds());
    write("runs/run/checkpoints/step_00000040/tokenizer/chat_template.jinja",
          "{% for m in messages %}{{ m.content }}.\n{% endfor %}{% if add_generation_prompt %}the {% endif %}");
  }

  Finished generate(const Words& options) {
    Words all{"generate", "--checkpoint", "runs/run", "--temperature", "0", "--max-tokens", "24"};
    all.insert(all.end(), options.begin(), options.end());
    return nemo(all);
  }

  // What is added to the prompt.
  std::string reply(const std::string& prompt, const Words& options = {}) {
    Words all{"--prompt", prompt};
    all.insert(all.end(), options.begin(), options.end());
    const Finished end = generate(all);
    EXPECT_THAT(end, succeeds());
    EXPECT_TRUE(end.out.starts_with(prompt)) << end.out;
    return end.out.substr(prompt.size(), end.out.size() - prompt.size() - 1);
  }
};

TEST_F(StateSpace, a_batch_of_prompts_of_different_lengths_equals_single_prompts) {
  const Words prompts{"the ", "the queen and the man of Verona shall speak ", "night in "};
  std::string lines;
  for (const std::string& prompt : prompts) lines += nlohmann::json{{"prompt", prompt}}.dump() + "\n";
  write("prompts.jsonl", lines);
  for (const char* batch : {"1", "3"}) {
    const Finished end = generate({"--prompts", "prompts.jsonl", "--batch", batch});
    ASSERT_THAT(end, succeeds());
    std::istringstream out(end.out);
    std::string line;
    for (const std::string& prompt : prompts) {
      ASSERT_TRUE(std::getline(out, line));
      EXPECT_EQ(nlohmann::json::parse(line)["text"], reply(prompt)) << prompt;
    }
  }
}

TEST_F(StateSpace, a_conversation_equals_its_turns_asked_for_from_the_beginning) {
  const Words stop{"--stop", "."};
  const std::string first = reply("king.\nthe ", stop), second = reply("king.\n" + first + ".\nlove of night.\nthe ", stop);
  Command told = host({"-c", R"(printf 'king\nlove of night\n' | "$0" "$@")", NEMO_BUILD_DIR "/bin/nemo-host", "generate", "--checkpoint",
                       "runs/run", "--temperature", "0", "--max-tokens", "24", "--chat"});
  told.arguments[0] = "/bin/sh";
  const Finished both = run(told);
  EXPECT_THAT(both, succeeds());
  EXPECT_EQ(both.out, first + "\n" + second + "\n");
}

TEST_F(StateSpace, text_goes_on_beyond_the_context) {
  const Finished end = nemo({"generate", "--checkpoint", "runs/run", "--prompt", "the king and the queen ", "--max-tokens", "90"});
  EXPECT_THAT(end, succeeds());
  EXPECT_EQ(end.out.size(), 23u + 90u + 1u);
}

}  // namespace
}  // namespace nemo::e2e

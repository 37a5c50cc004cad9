// tokenize, data prepare and evaluate.
#include <cmath>

#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

const std::string kGoldens = std::string(NEMO_SOURCE_DIR) + "/tests/golden/tokenizers/";

class TextCommands : public Sandbox {
 protected:
  // What the host prints for lines on its standard input.
  Finished piped(const std::string& input, Words arguments) {
    write("input.txt", input);
    Command command = host(std::move(arguments));
    std::string line = "exec '" + command.arguments[0] + "'";
    for (size_t i = 1; i < command.arguments.size(); ++i) line += " '" + command.arguments[i] + "'";
    command.arguments = {"/bin/sh", "-c", line + " < input.txt"};
    return run(command);
  }
};

TEST_F(TextCommands, tokenize_reads_lines_and_adds_special_tokens_when_asked) {
  const std::string lines = "{\"text\": \"The cat\"}\n{\"text\": \"\"}\n";
  const Finished plain = piped(lines, {"tokenize", "--tokenizer", kGoldens + "llama3", "--jsonl"});
  ASSERT_THAT(plain, succeeds());
  const auto first = nlohmann::json::parse(plain.out.substr(0, plain.out.find('\n')));
  EXPECT_EQ(first["decoded"], "The cat");
  const Finished special = piped(lines, {"tokenize", "--tokenizer", kGoldens + "llama3/tokenizer.json", "--jsonl", "--special"});
  ASSERT_THAT(special, succeeds());
  const auto with = nlohmann::json::parse(special.out.substr(0, special.out.find('\n')));
  EXPECT_EQ(with["ids"].size(), first["ids"].size() + 1);
  EXPECT_EQ(with["decoded"], "<|begin_of_text|>The cat");
  EXPECT_THAT(piped("{\"txt\": 1}\n", {"tokenize", "--tokenizer", kGoldens + "llama3", "--jsonl"}).err,
              HasSubstr("line 1: expected {\"text\""));
}

TEST_F(TextCommands, tokenize_writes_a_chat) {
  write("chat.json", R"([{"role": "user", "content": "Hi"}])");
  const Finished end = nemo({"tokenize", "--tokenizer", kGoldens + "chat/hf_chatml", "--chat", "chat.json", "--add-generation-prompt"});
  ASSERT_THAT(end, succeeds());
  EXPECT_EQ(end.out, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(TextCommands, prepared_data_can_be_trained_on_and_judged) {
  std::string lines;
  for (int i = 0; i < 400; ++i) lines += "{\"text\": \"the cat sat on the mat and the dog sat on the log " + std::to_string(i) + "\"}\n";
  write("docs.jsonl", lines);
  ASSERT_THAT(
      nemo({"data", "prepare", "--input", "docs.jsonl", "--tokenizer", kGoldens + "gpt2", "--output-prefix", "docs", "--append-eod"}),
      succeeds());
  write("mega.toml",
        "job.name = \"run\"\nmodel = {plugin = \"gpt\", num_layers = 1, hidden_size = 32, num_attention_heads = 2}\n"
        "tokenizer = {type = \"huggingface\", path = \"" +
            kGoldens +
            "gpt2\"}\ndata = {plugin = \"megatron\", paths = [\"docs\"], split = \"90,10,0\", seq_length = 32, micro_batch_size = 4, "
            "global_batch_size = 4}\noptim.lr = 1e-2\ntrainer = {max_steps = 12, limit_val_batches = 2}\nlog.loggers = [\"jsonl\"]\n");
  ASSERT_THAT(nemo({"pretrain", "--recipe", "mega.toml"}), succeeds());
  write("text.txt", "the cat sat on the mat and the dog sat on the log 7");
  const Finished text = nemo({"evaluate", "--checkpoint", "runs/run", "--text", "text.txt"});
  ASSERT_THAT(text, succeeds());
  const double perplexity = std::strtod(text.out.substr(text.out.find("perplexity") + 10).c_str(), nullptr);
  EXPECT_GT(perplexity, 1);
  EXPECT_LT(perplexity, 901);  // better than any of the 901 tokens with equal probability
  write("choices.jsonl", "{\"context\": \"the cat sat on the\", \"choices\": [\"mat and the dog\", \"zqx##@!\"], \"answer\": 0}\n");
  const Finished choices = nemo({"evaluate", "--checkpoint", "runs/run", "--choices", "choices.jsonl"});
  ASSERT_THAT(choices, succeeds());
  EXPECT_THAT(choices.out, HasSubstr("accuracy             1.0000"));
}

}  // namespace
}  // namespace nemo::e2e

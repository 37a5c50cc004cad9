// T5 and BERT are pretrained from text on the command line, with tokenizers that have the special tokens and with one that has none.
#include <numeric>

#include "tests/e2e/same_tensors.hpp"
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

constexpr int64_t kSteps = 20;

const std::string kCommon = R"(
[job]
seed = 7
[optim]
lr = 1e-2
[trainer]
max_steps = 20
val_check_interval = 10
limit_val_batches = 2
[log]
loggers = ["jsonl"]
[checkpoint]
every_n_steps = 8
)";

const std::string kT5 = kCommon + R"(
[model]
plugin = "t5"
num_layers = 2
hidden_size = 32
ffn_hidden_size = 48
num_attention_heads = 4
[tokenizer]
type = "huggingface"
path = "TOKENIZERS/t5_unigram"
[data]
plugin = "span_corruption"
files = ["speeches.txt"]
document_separator = "\n\n"
encoder_seq_length = 40
seq_length = 16
micro_batch_size = 4
global_batch_size = 8
)";

const std::string kBert = kCommon + R"(
[model]
plugin = "bert"
num_layers = 2
hidden_size = 32
num_attention_heads = 4
hidden_dropout = 0.1
[tokenizer]
type = "huggingface"
path = "TOKENIZERS/bert_uncased"
[data]
plugin = "masked_tokens"
files = ["speeches.txt"]
seq_length = 48
micro_batch_size = 4
global_batch_size = 8
)";

class Denoising : public Sandbox {
 protected:
  void SetUp() override {
    const std::string text = read("corpus.txt");
    std::string speeches;
    size_t lines = 0;
    for (const char c : text) {
      speeches += c;
      if (c == '\n' && ++lines % 5 == 0) speeches += '\n';
    }
    write("speeches.txt", speeches);
  }

  void write_recipe(std::string text) {
    for (const std::string word = "TOKENIZERS"; text.find(word) != std::string::npos;)
      text.replace(text.find(word), word.size(), NEMO_SOURCE_DIR "/tests/golden/tokenizers");
    write("r.toml", text);
  }

  Finished train(const std::string& name, const Words& more = {}) {
    Words all{"pretrain", "--recipe", "r.toml", "job.name=" + name};
    all.insert(all.end(), more.begin(), more.end());
    return nemo(all);
  }

  void expect_learns() {
    ASSERT_THAT(train("a"), succeeds());
    const std::vector<double> losses = column("a", "loss");
    ASSERT_EQ(losses.size(), static_cast<size_t>(kSteps));
    const auto mean = [](auto first, auto last) { return std::accumulate(first, last, 0.0) / static_cast<double>(last - first); };
    EXPECT_LT(mean(losses.end() - 4, losses.end()), 0.9 * mean(losses.begin(), losses.begin() + 4));
    const Finished validated = nemo({"validate", "--recipe", "r.toml", "job.name=a"});
    ASSERT_THAT(validated, succeeds());
    EXPECT_NEAR(std::stod(validated.out.substr(9)), column("a", "val_loss").back(), 1e-5);
  }

  // From the checkpoint of step 8 on, as if the run had ended there.
  void expect_resumes_exactly() {
    fs::copy(run_folder("a"), run_folder("b"), fs::copy_options::recursive);
    for (const std::string& folder : checkpoints("b"))
      if (folder != "step_00000008") fs::remove_all(run_folder("b") / "checkpoints" / folder);
    ASSERT_THAT(train("b"), succeeds("resumed from"));
    for (const char* field : {"step", "loss", "grad_norm", "val_loss", "consumed_samples"})
      EXPECT_EQ(column("a", field), column("b", field));
    EXPECT_EQ(tensor_difference(checkpoint("a", kSteps), checkpoint("b", kSteps)), "");
  }
};

TEST_F(Denoising, t5_learns_spans_and_resumes_exactly) {
  write_recipe(kT5);
  expect_learns();
  expect_resumes_exactly();
}

TEST_F(Denoising, bert_learns_hidden_tokens_and_resumes_exactly) {
  write_recipe(kBert);
  expect_learns();
  expect_resumes_exactly();
}

TEST_F(Denoising, a_tokenizer_without_special_tokens_is_told_so_and_gets_some) {
  for (const auto& [recipe, token] : {std::pair{kT5, "special_tokens"}, {kBert, "pad_token"}}) {
    write_recipe(recipe);
    const Words words{"tokenizer.type=char", "trainer.max_steps=2"};
    EXPECT_THAT(train("char", words), fails_with(kUsage, std::string("data.") + token, "added"));
    Words added = words;
    added.emplace_back("data.special_tokens=added");
    EXPECT_THAT(train(recipe == kT5 ? "t5_char" : "bert_char", added), succeeds());
  }
}

TEST_F(Denoising, a_model_that_reads_what_the_data_has_not_is_refused) {
  write_recipe(kBert);
  EXPECT_THAT(train("a", {"data.sentence_task=none"}), fails_with(kUsage, "next_sentence_labels"));
  EXPECT_THAT(train("b", {"data.sentence_task=none", "model.add_binary_head=false", "trainer.max_steps=2"}), succeeds());
}

}  // namespace
}  // namespace nemo::e2e

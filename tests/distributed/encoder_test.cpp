// Encoders on several ranks: T5 and BERT train like one rank under every layout that they have, and however the batch is cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "tests/distributed/runner.hpp"

namespace nemo::distributed_test {
namespace {

constexpr double kTolerance = 1e-5;

const std::string kRun =
    "micro_batch_size = 8\nglobal_batch_size = 8\n[tokenizer]\ntype = \"char\"\n[optim]\nlr = 1e-3\n[trainer]\naccelerator = \"cpu\"\n"
    "max_steps = 8\nval_check_interval = 8\nlimit_val_batches = 2\n[backend]\nthreads = 1\n[log]\ndir = \".\"\nloggers = [\"jsonl\"]\n"
    "[checkpoint]\nkeep_top_k = 0\nsave_last = false\n";

std::string text(const char* plugin) {
  return std::string("[data]\nplugin = \"") + plugin +
         "\"\nfiles = [\"" NEMO_SOURCE_DIR
         "/host/data/tinyshakespeare.txt\"]\n"
         "special_tokens = \"added\"\n";
}

const std::string kBert =
    "[model]\nplugin = \"bert\"\nnum_layers = 2\nhidden_size = 32\nnum_attention_heads = 4\nhidden_dropout = 0.1\n"
    "max_position_embeddings = 32\nmake_vocab_size_divisible_by = 16\n" +
    text("masked_tokens") + "short_share = 0.5\nseq_length = 32\n" + kRun;
const std::string kT5 =
    "[model]\nplugin = \"t5\"\nnum_layers = 2\nhidden_size = 32\nffn_hidden_size = 48\nnum_attention_heads = 4\n"
    "make_vocab_size_divisible_by = 16\n" +
    text("span_corruption") + "num_sentinels = 16\nencoder_seq_length = 48\nseq_length = 24\n" + kRun;

const std::vector<Layout>& shared_layouts() {
  static const std::vector<Layout> layouts{
      {"micro-batches of 2", 1, {"data.micro_batch_size=2"}},
      {"ddp2", 2, {"strategy.plugin=ddp", "data.micro_batch_size=2"}},
      {"fsdp2", 2, {"strategy.plugin=fsdp", "data.micro_batch_size=4"}},
      {"tp2", 2, megatron({"tensor_model_parallel_size=2", "sequence_parallel=false"})},
      {"tp2+sp", 2, megatron({"tensor_model_parallel_size=2"})},
      {"tp4+sp", 4, megatron({"tensor_model_parallel_size=4"})},
      {"tp2+sp dp2", 4,
       [] {
         auto o = megatron({"tensor_model_parallel_size=2"});
         o.emplace_back("data.micro_batch_size=2");
         return o;
       }()},
      {"pp2", 2,
       [] {
         auto o = megatron({"pipeline_model_parallel_size=2"});
         o.emplace_back("data.micro_batch_size=2");
         return o;
       }()},
  };
  return layouts;
}

void expect_all_equal(const std::string& model, const std::string& recipe, std::vector<Layout> layouts) {
  const Folder folder;
  std::ofstream(folder.path() / (model + ".toml")) << recipe;
  const std::vector<Step> one = train(folder, model, "one", {});
  ASSERT_EQ(one.size(), 8U);
  layouts.insert(layouts.begin(), shared_layouts().begin(), shared_layouts().end());
  int n = 0;
  for (const Layout& layout : layouts) {
    Overrides overrides = layout.overrides;
    overrides.push_back("trainer.devices=" + std::to_string(layout.ranks));
    const Difference d = difference(one, train(folder, model, "run" + std::to_string(n++), overrides));
    std::printf("%-6s %-20s %14.2e %14.2e\n", model.c_str(), layout.name, d.loss, d.grad_norm);
    EXPECT_LE(d.loss, kTolerance) << layout.name;
    EXPECT_LE(d.grad_norm, kTolerance) << layout.name;
  }
}

TEST(Encoders, bert_trains_like_one_rank_with_sequences_of_any_length_and_its_next_sentence_term) {
  expect_all_equal(
      "bert", kBert,
      {{"cp2", 2, megatron({"context_parallel_size=2", "use_distributed_optimizer=false"})},
       {"cp2 a2a", 2, megatron({"context_parallel_size=2", "cp_comm_type=a2a", "use_distributed_optimizer=false"})},
       {"tp2+sp cp2", 4, megatron({"tensor_model_parallel_size=2", "context_parallel_size=2", "use_distributed_optimizer=false"})}});
}

TEST(Encoders, t5_trains_like_one_rank) { expect_all_equal("t5", kT5, {}); }

TEST(Encoders, what_cannot_share_sequences_is_refused_with_what_would_do) {
  const Folder folder;
  std::ofstream(folder.path() / "t5.toml") << kT5;
  std::ofstream(folder.path() / "bert.toml") << kBert;
  const auto refusal = [&](const std::string& model, Overrides overrides) {
    overrides.emplace_back("trainer.devices=2");
    const e2e::Finished f = e2e::run(command(folder, model, "run", overrides));
    EXPECT_NE(f.exit_code, 0);
    return f.err;
  };
  EXPECT_THAT(refusal("t5", megatron({"context_parallel_size=2"})), testing::HasSubstr("context_parallel_size = 1"));
  EXPECT_THAT(refusal("t5", megatron({"context_parallel_size=2", "use_distributed_optimizer=false"})), testing::HasSubstr("with a bias"));
  EXPECT_THAT(refusal("bert", megatron({"context_parallel_size=2"})), testing::HasSubstr("use_distributed_optimizer = false"));
}

}  // namespace
}  // namespace nemo::distributed_test

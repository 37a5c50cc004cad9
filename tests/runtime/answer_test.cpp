// An encoder-decoder that generates with kept keys and values equals one that computes every sequence anew.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "core/passes/build.hpp"
#include "core/runtime/sequence_model.hpp"
#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

using passes::Purpose;
using Sequences = std::vector<std::vector<int32_t>>;

constexpr int32_t kVocab = 64;
constexpr int64_t kBatch = 3, kContext = 90, kSource = 30;

std::string recipe(const std::string& model) {
  return "[model]\n" + model + "vocab_size = " + std::to_string(kVocab) +
         "\n[data]\nplugin = \"mock\"\nseq_length = " + std::to_string(kContext) +
         "\nmicro_batch_size = 3\nglobal_batch_size = 3\n[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n";
}

std::string t5(const char* version) {
  return "plugin = \"t5\"\nnum_layers = 3\nencoder_num_layers = 2\nhidden_size = 32\nffn_hidden_size = 48\nnum_attention_heads = 4\n"
         "relative_attention_num_buckets = 8\nrelative_attention_max_distance = 20\ninit_method_std = 0.3\n" +
         std::string(version);
}

std::vector<int32_t> tokens(int64_t n, int32_t seed) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int32_t>((seed * 31 + i * i * 7 + i * 13) % kVocab));
  return out;
}

runtime::Setup setup_of(Plugins& plugins, const std::string& text) {
  return runtime::make_setup(config::Document::parse(text, "test.toml"), plugins.registry(), [](const std::string&) {});
}

struct Side {
  Side(const runtime::Setup& setup, std::set<Purpose> purposes) {
    runtime::EngineOptions options;
    options.facts = facts();
    options.purposes = std::move(purposes);
    engine = std::make_unique<runtime::Engine>(setup, options);
    engine->allocate();
    engine->state().initialize(7);
    model = runtime::make_sequence_model(*engine);
  }
  static graph::BuildFacts facts() { return {kBatch, kContext, 0, {}, kSource}; }
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<runtime::SequenceModel> model;
};

class Answer : public ::testing::TestWithParam<const char*> {
 protected:
  Plugins plugins;
  runtime::Setup setup = setup_of(plugins, recipe(t5(GetParam())));
  Side whole{setup, {Purpose::kLogits}}, cached{setup, runtime::generation_purposes(setup, Side::facts())};

  Sequences expect_same(const Sequences& sequences, const std::string& what) {
    const auto want = whole.model->next_logits(sequences), got = cached.model->next_logits(sequences);
    for (size_t r = 0; r < sequences.size(); ++r)
      for (size_t i = 0; i < want[r].size(); ++i)
        EXPECT_NEAR(got[r][i], want[r][i], 2e-5 + 1e-4 * std::abs(want[r][i])) << what << ", row " << r << ", logit " << i;
    Sequences next = sequences;
    for (size_t r = 0; r < next.size(); ++r) next[r].push_back(static_cast<int32_t>(std::ranges::max_element(got[r]) - got[r].begin()));
    return next;
  }
  void read(const Sequences& sources) {
    for (Side* side : {&whole, &cached}) side->model->read(sources);
  }
};

TEST_P(Answer, rows_of_different_sources_and_lengths_go_on_as_if_computed_anew) {
  ASSERT_TRUE(cached.engine->has(Purpose::kEncode));
  read({tokens(30, 1), tokens(1, 2), tokens(17, 3)});
  Sequences sequences{{0}, tokens(70, 4), tokens(5, 5)};  // the second one is read in two chunks
  for (int step = 0; step < 12; ++step) sequences = expect_same(sequences, "step " + std::to_string(step));
}

TEST_P(Answer, another_source_is_another_answer) {
  const Sequences start{{0}, {0}};
  read({tokens(12, 1), tokens(9, 2)});
  const auto first = cached.model->next_logits(start);
  (void)expect_same(start, "first");
  read({tokens(7, 8), tokens(9, 2)});
  (void)expect_same(start, "second");
  const auto second = cached.model->next_logits(start);
  EXPECT_NE(first[0], second[0]);
  EXPECT_EQ(first[1], second[1]);
}

TEST_P(Answer, the_encoder_is_no_part_of_a_step) {
  const auto scopes = [&](Purpose purpose) {
    std::string all;
    for (const graph::Op& op : cached.engine->compiled(purpose).graph.ops) all += op.scope + " ";
    return all;
  };
  EXPECT_EQ(scopes(Purpose::kDecode).find("encoder."), std::string::npos) << scopes(Purpose::kDecode);
  EXPECT_EQ(scopes(Purpose::kEncode).find(".mlp", scopes(Purpose::kEncode).find("decoder.")), std::string::npos);
  EXPECT_NE(scopes(Purpose::kEncode).find("decoder.layers.2.attention"), std::string::npos) << "keys and values of the last layer";
}

INSTANTIATE_TEST_SUITE_P(, Answer,
                         ::testing::Values("",
                                           "activation = \"gated_gelu\"\nshare_embeddings_and_output_weights = false\n"
                                           "scale_decoder_outputs = false\n"),
                         [](const auto& info) { return info.index == 0 ? "v1_0" : "v1_1"; });

TEST(Generation, refuses_a_model_that_reads_in_both_directions) {
  Plugins plugins;
  const runtime::Setup setup = setup_of(plugins, recipe("plugin = \"bert\"\nnum_layers = 1\nhidden_size = 16\nnum_attention_heads = 2\n"));
  try {
    (void)runtime::generation_purposes(setup, Side::facts());
    FAIL() << "not refused";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("reads text in both directions"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace nemo::runtime_test

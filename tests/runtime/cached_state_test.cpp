// Generation with kept keys, values and states equals computing every sequence anew, for models with state-space layers.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "core/ops/cost.hpp"
#include "core/runtime/sequence_model.hpp"
#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

using passes::Purpose;
using Sequences = std::vector<std::vector<int32_t>>;

constexpr int32_t kVocab = 64;

struct Family {
  const char* name;
  const char* model;
};

void PrintTo(const Family& family, std::ostream* out) { *out << family.name; }

const Family kFamilies[] = {
    {"mamba", "plugin = \"mamba\"\nnum_layers = 2\nhidden_size = 32\nmamba_head_dim = 8\nmamba_state_dim = 6\nmamba_num_groups = 2\n"},
    {"nemotron_h",
     "plugin = \"nemotron_h\"\nnum_layers = 4\nhybrid_override_pattern = \"M-*M\"\nhidden_size = 32\nffn_hidden_size = 48\n"
     "num_attention_heads = 4\nnum_query_groups = 2\nmamba_num_heads = 8\nmamba_head_dim = 8\nmamba_state_dim = 6\nmamba_num_groups = 2\n"},
    {"bamba",
     "plugin = \"bamba\"\nnum_layers = 3\nattention_layers = [1]\nhidden_size = 32\nffn_hidden_size = 48\nnum_attention_heads = 4\n"
     "num_query_groups = 2\nmamba_head_dim = 8\nmamba_state_dim = 6\nmamba_num_groups = 1\n"},
    {"jamba",
     "plugin = \"jamba\"\nnum_layers = 4\nhidden_size = 32\nffn_hidden_size = 48\nnum_attention_heads = 4\nnum_query_groups = 2\n"
     "attention_period = 4\nattention_offset = 2\nnum_moe_experts = 4\nmoe_router_topk = 2\nmamba_state_dim = 6\nmamba_dt_rank = 5\n"},
};

std::string recipe(const Family& family, int64_t batch, int64_t context) {
  return "[model]\n" + std::string(family.model) + "init_method_std = 0.3\nvocab_size = " + std::to_string(kVocab) +
         "\n[data]\nplugin = \"mock\"\nseq_length = " + std::to_string(context) + "\nmicro_batch_size = " + std::to_string(batch) +
         "\nglobal_batch_size = " + std::to_string(batch) + "\n[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n";
}

std::vector<int32_t> tokens(int64_t n, int32_t seed) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int32_t>((seed * 31 + i * i * 7 + i * 13) % kVocab));
  return out;
}

class CachedState : public ::testing::TestWithParam<Family> {
 protected:
  void SetUp() override { make(4, 150); }
  void make(int64_t batch, int64_t context) {
    whole_session = std::make_unique<Session>(plugins, recipe(GetParam(), batch, context), std::set{Purpose::kLogits});
    cached_session = std::make_unique<Session>(plugins, recipe(GetParam(), batch, context), generation(*whole_session));
    for (Session* s : {whole_session.get(), cached_session.get()}) s->engine->state().initialize(7);
    whole = runtime::make_sequence_model(*whole_session->engine);
    cached = runtime::make_sequence_model(*cached_session->engine);
  }
  static std::set<Purpose> generation(const Session& s) { return runtime::generation_purposes(s.setup, s.engine->facts()); }

  std::vector<std::vector<float>> expect_same(const Sequences& sequences, const std::string& what) {
    const auto want = whole->next_logits(sequences), got = cached->next_logits(sequences);
    EXPECT_EQ(got.size(), sequences.size()) << what;
    for (size_t r = 0; r < sequences.size(); ++r)
      for (size_t i = 0; i < want[r].size(); ++i)
        EXPECT_NEAR(got[r][i], want[r][i], 2e-5 + 1e-4 * std::abs(want[r][i])) << what << ", row " << r << ", logit " << i;
    return got;
  }

  Plugins plugins;
  std::unique_ptr<Session> whole_session, cached_session;
  std::unique_ptr<runtime::SequenceModel> whole, cached;
};

TEST_P(CachedState, prompts_of_different_lengths_go_on_as_if_computed_anew) {
  ASSERT_TRUE(cached_session->engine->has(Purpose::kDecode));
  Sequences sequences{tokens(3, 1), tokens(1, 2), tokens(140, 3), tokens(37, 4)};
  for (int step = 0; step < 9; ++step) {
    const auto logits = expect_same(sequences, "step " + std::to_string(step));
    for (size_t r = 0; r < sequences.size(); ++r)
      sequences[r].push_back(static_cast<int32_t>(std::ranges::max_element(logits[r]) - logits[r].begin()));
  }
}

TEST_P(CachedState, a_sequence_that_changed_begins_anew_and_others_go_on) {
  Sequences sequences{tokens(20, 1), tokens(30, 2), tokens(40, 3), tokens(50, 4)};
  expect_same(sequences, "first");
  sequences[0][4] ^= 1;               // another token in the middle
  sequences[1].resize(12);            // shorter
  sequences[2].push_back(5);          // longer
  expect_same(sequences, "changed");  // the last one is as it was
  expect_same(sequences, "asked again");
  sequences.resize(2);  // fewer rows
  expect_same(sequences, "fewer");
  for (Sequences more{tokens(20, 5), sequences[1], tokens(9, 6)}; more[0].size() < 24; more[0].push_back(3)) expect_same(more, "more");
}

TEST_P(CachedState, rows_of_a_batch_equal_single_prompts) {
  const Sequences sequences{tokens(3, 1), tokens(61, 2), tokens(17, 3)};
  const auto together = cached->next_logits(sequences);
  for (size_t r = 0; r < sequences.size(); ++r) {
    const auto alone = cached->next_logits(std::span(&sequences[r], 1))[0];
    for (size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(alone[i], together[r][i], 1e-5) << "row " << r << ", logit " << i;
  }
}

TEST_P(CachedState, older_tokens_are_dropped_behind_the_context) {
  make(1, 12);
  for (Sequences sequences{tokens(10, 1)}; sequences[0].size() < 16; sequences[0].push_back(9)) expect_same(sequences, "beyond");
}

TEST_P(CachedState, no_op_of_a_decoded_token_grows_with_the_prefix_but_attention) {
  const auto bytes = [&](int64_t context) {
    const Session s(plugins, recipe(GetParam(), 1, context), generation(*whole_session));
    const graph::Graph& g = s.engine->compiled(Purpose::kDecode).graph;
    double sum = 0;
    for (const graph::Op& op : g.ops) {
      if (op.name() == "attention_cached" || op.name() == "cache_write") continue;
      EXPECT_EQ(op.name().find("scan") != std::string_view::npos && !op.name().ends_with("_cached"), false) << op.name();
      sum += ops::cost(g, op, false).bytes;
    }
    return sum;
  };
  EXPECT_EQ(bytes(64), bytes(1024));
}

INSTANTIATE_TEST_SUITE_P(, CachedState, ::testing::ValuesIn(kFamilies), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nemo::runtime_test

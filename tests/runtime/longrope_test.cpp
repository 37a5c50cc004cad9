// Positions that depend on the length of a sequence: each sequence has those of its own length, however it came to be computed.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "core/runtime/evaluate.hpp"
#include "core/runtime/sequence_model.hpp"
#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

using passes::Purpose;
using Sequences = std::vector<std::vector<int32_t>>;

constexpr int32_t kVocab = 64;
constexpr int64_t kFirst = 20, kContext = 40;

std::string recipe() {
  return "[model]\nplugin = \"phi3\"\nnum_layers = 2\nhidden_size = 32\nffn_hidden_size = 48\nnum_attention_heads = 4\n"
         "max_position_embeddings = 100\nvocab_size = 64\ninit_method_std = 0.3\nrope_scaling.type = \"longrope\"\n"
         "rope_scaling.original_max_position_embeddings = 20\nrope_scaling.short_factor = [1.0, 1.2, 1.5, 2.0]\n"
         "rope_scaling.long_factor = [1.0, 3.0, 7.0, 12.0]\n[data]\nplugin = \"mock\"\nseq_length = 40\nmicro_batch_size = 3\n"
         "global_batch_size = 3\n[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n";
}

std::vector<int32_t> tokens(int64_t n, int32_t seed) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int32_t>((seed * 31 + i * i * 7 + i * 13) % kVocab));
  return out;
}

class LongRope : public ::testing::Test {
 protected:
  std::unique_ptr<runtime::Engine> engine(std::set<Purpose> purposes, int64_t batch, int64_t seq) {
    runtime::EngineOptions options;
    options.purposes = std::move(purposes);
    options.facts = {batch, seq, 0, {}};
    options.short_sequences = runtime::short_sequences(setup, options.facts);
    auto made = std::make_unique<runtime::Engine>(setup, options);
    made->allocate();
    made->state().initialize(5);
    return made;
  }
  // By a model whose sequences are as long as this one and no longer: what its plugin says for that length.
  std::vector<float> alone(const std::vector<int32_t>& sequence) {
    const auto e = engine({Purpose::kLogits}, 1, static_cast<int64_t>(sequence.size()));
    EXPECT_FALSE(e->is_short(static_cast<int64_t>(sequence.size()))) << "one length has one program";
    return runtime::WholeModel(*e).next_logits({&sequence, 1})[0];
  }
  void expect_alone(const std::vector<float>& got, const std::vector<int32_t>& sequence) {
    const std::vector<float> want = alone(sequence);
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(got[i], want[i], 2e-5 + 1e-4 * std::abs(want[i])) << sequence.size() << " tokens, logit " << i;
  }

  Plugins plugins;
  runtime::Setup setup = runtime::make_setup(config::Document::parse(recipe(), "test.toml"), plugins.registry(), [](const std::string&) {});
};

TEST_F(LongRope, the_first_context_is_found) {
  EXPECT_EQ(runtime::short_sequences(setup, {1, kContext, 0, {}}), kFirst);
  EXPECT_EQ(runtime::short_sequences(setup, {1, kFirst + 1, 0, {}}), kFirst);
  EXPECT_EQ(runtime::short_sequences(setup, {1, kFirst, 0, {}}), 0);
}

TEST_F(LongRope, short_and_long_sequences_have_other_logits) {
  const auto e = engine({Purpose::kLogits}, 1, kContext);
  runtime::WholeModel model(*e);
  const std::vector<int32_t> sequence = tokens(kFirst, 1);
  const auto shorter = model.next_logits({&sequence, 1})[0];
  expect_alone(shorter, sequence);
  const auto long_engine = engine({Purpose::kLogits}, 1, kContext);
  runtime::Batch batch;
  batch.fields["tokens"] = sequence;
  batch.fields["tokens"].resize(kContext, 0);
  runtime::Program& program = long_engine->program(Purpose::kLogits);  // of long sequences
  runtime::feed(long_engine->device(), program, batch, 0, 0);
  program.run();
  std::vector<float> logits(kVocab);
  long_engine->device().copy_out(logits.data(), program.output("logits") + (kFirst - 1) * kVocab * 4, kVocab * 4);
  EXPECT_NE(logits, shorter);
}

TEST_F(LongRope, generation_crosses_the_first_context_as_if_computed_anew) {
  for (const bool cached : {true, false}) {
    const auto e = engine(cached ? std::set{Purpose::kPrefill, Purpose::kDecode} : std::set{Purpose::kLogits}, 3, kContext);
    const auto model = runtime::make_sequence_model(*e);
    Sequences sequences{tokens(17, 1), tokens(2, 2), tokens(25, 3)};  // one crosses, one stays, one begins behind
    for (int step = 0; step < 7; ++step) {
      const auto logits = model->next_logits(sequences);
      for (size_t r = 0; r < sequences.size(); ++r) {
        expect_alone(logits[r], sequences[r]);
        sequences[r].push_back(static_cast<int32_t>(std::ranges::max_element(logits[r]) - logits[r].begin()));
      }
    }
    sequences[0].resize(15);  // and back
    const auto logits = model->next_logits(sequences);
    for (size_t r = 0; r < sequences.size(); ++r) expect_alone(logits[r], sequences[r]);
  }
}

}  // namespace
}  // namespace nemo::runtime_test

// BERT's loss has a mean over masked tokens and one over sequences. However a batch is cut into micro-batches, loss and gradients are those
// of the whole.
#include <cmath>

#include <gtest/gtest.h>

#include "core/runtime/evaluate.hpp"
#include "core/runtime/optimizer.hpp"
#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

using passes::Purpose;

constexpr int64_t kSequences = 6, kTokens = 10;

std::string recipe(int64_t micro) {
  return "[model]\nplugin = \"bert\"\nnum_layers = 2\nhidden_size = 32\nnum_attention_heads = 4\nvocab_size = 40\ninit_method_std = 0.2\n"
         "max_position_embeddings = 16\n[data]\nplugin = \"mock\"\nseq_length = 10\nmicro_batch_size = " +
         std::to_string(micro) + "\nglobal_batch_size = 6\n[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n";
}

// Sequences [first, first + n); sequence s has s + 1 labels, so that the cut matters.
runtime::Batch batch_of(int64_t first, int64_t n) {
  runtime::Batch b;
  for (int64_t s = first; s < first + n; ++s) {
    for (int64_t i = 0; i < kTokens; ++i) {
      b.fields["tokens"].push_back(static_cast<int32_t>((s * 17 + i * i * 5 + i) % 40));
      b.fields["labels"].push_back(i <= s ? static_cast<int32_t>((s * 11 + i * 3) % 40) : -100);
      b.fields["token_types"].push_back(i < 4 ? 0 : 1);
      b.fields["positions"].push_back(static_cast<int32_t>(i));
    }
    b.fields["lengths"].push_back(static_cast<int32_t>(kTokens - s % 3));
    b.fields["next_sentence_labels"].push_back(static_cast<int32_t>(s % 2));
    b.unmasked_tokens += s + 1;
  }
  return b;
}

struct Result {
  double loss = 0;
  std::vector<std::vector<float>> gradients;
};

Result computed(Plugins& plugins, int64_t micro, Purpose purpose) {
  runtime::EngineOptions options;
  const runtime::Setup setup =
      runtime::make_setup(config::Document::parse(recipe(micro), "test.toml"), plugins.registry(), [](const std::string&) {});
  options.purposes = {purpose};
  options.facts = {micro, kTokens, 0, {}};
  options.keep = purpose == Purpose::kTrain ? runtime::Keep::kTwoMoments : runtime::Keep::kParametersOnly;
  runtime::Engine engine(setup, options);
  engine.allocate();
  engine.state().initialize(3);
  EXPECT_TRUE(engine.counts_batches());
  std::vector<runtime::Batch> batches;
  for (int64_t first = 0; first < kSequences; first += micro) batches.push_back(batch_of(first, micro));
  EXPECT_EQ(engine.count_batches(batches, kSequences), 21);
  Result out;
  for (size_t m = 0; m < batches.size(); ++m) {
    runtime::Program& program = engine.program(purpose);
    runtime::feed(engine.device(), program, batches[m], 1, 0);
    program.run(m == 0 ? runtime::Gradients::kOverwrite : runtime::Gradients::kAccumulate);
    out.loss += runtime::read_scalar(engine.device(), program, "loss") / 21;
  }
  if (purpose == Purpose::kTrain)
    for (size_t p = 0; p < engine.state().parameters().size(); ++p)
      out.gradients.push_back(engine.state().read(runtime::Role::kGradient, p));
  return out;
}

TEST(NextSentence, loss_and_gradients_do_not_depend_on_the_cut_into_micro_batches) {
  Plugins plugins;
  const Result whole = computed(plugins, 6, Purpose::kTrain);
  for (const int64_t micro : {1, 2, 3}) {
    const Result cut = computed(plugins, micro, Purpose::kTrain);
    EXPECT_NEAR(cut.loss, whole.loss, 1e-6 * std::abs(whole.loss)) << micro;
    EXPECT_NEAR(computed(plugins, micro, Purpose::kEvaluate).loss, whole.loss, 1e-6 * std::abs(whole.loss)) << micro;
    double apart = 0, norm = 0;
    for (size_t p = 0; p < whole.gradients.size(); ++p)
      for (size_t i = 0; i < whole.gradients[p].size(); ++i) {
        apart += std::pow(static_cast<double>(cut.gradients[p][i]) - whole.gradients[p][i], 2);
        norm += std::pow(static_cast<double>(whole.gradients[p][i]), 2);
      }
    EXPECT_GT(norm, 0);
    EXPECT_LE(std::sqrt(apart / norm), 1e-6) << micro;
  }
}

TEST(NextSentence, one_batch_alone_has_both_means_of_itself) {
  Plugins plugins;
  runtime::EngineOptions options;
  const runtime::Setup setup =
      runtime::make_setup(config::Document::parse(recipe(6), "test.toml"), plugins.registry(), [](const std::string&) {});
  options.purposes = {Purpose::kEvaluate};
  options.facts = {6, kTokens, 0, {}};
  runtime::Engine engine(setup, options);
  engine.allocate();
  engine.state().initialize(3);
  runtime::Program& program = engine.program(Purpose::kEvaluate);
  runtime::feed(engine.device(), program, batch_of(0, 6), 1, 0);  // without counts
  program.run();
  EXPECT_NEAR(runtime::read_scalar(engine.device(), program, "loss") / 21, computed(plugins, 2, Purpose::kEvaluate).loss, 1e-5);
}

}  // namespace
}  // namespace nemo::runtime_test

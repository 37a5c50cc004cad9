#include "core/runtime/sampling.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/support/safetensors.hpp"

namespace nemo::runtime {
namespace {

const testing::Safetensors& golden() {
  static const testing::Safetensors tensors(NEMO_SOURCE_DIR "/tests/golden/numerics/sampling/logits_processors.safetensors");
  return tensors;
}

// Each row of the golden logits after one processor.
void expect_probabilities(const std::string& name, const SamplingSettings& settings) {
  const auto logits = golden().at("scores").as<float>(), expected = golden().at("probs." + name).as<float>();
  const auto vocab = static_cast<size_t>(golden().at("scores").shape.back());
  for (size_t row = 0; row * vocab < logits.size(); ++row) {
    const auto p = token_probabilities({logits.data() + row * vocab, vocab}, settings);
    for (size_t i = 0; i < vocab; ++i) ASSERT_NEAR(p[i], expected[row * vocab + i], 1e-6) << name << " row " << row << " token " << i;
  }
}

TEST(Sampling, temperature_equals_transformers) {
  expect_probabilities("temperature_0.7", {.temperature = 0.7});
  expect_probabilities("temperature_1.6", {.temperature = 1.6});
}

TEST(Sampling, top_k_equals_transformers) {
  expect_probabilities("top_k_5", {.top_k = 5});
  expect_probabilities("top_k_200", {.top_k = 61});
}

TEST(Sampling, top_p_equals_transformers) {
  expect_probabilities("top_p_0.5", {.top_p = 0.5});
  expect_probabilities("top_p_0.9", {.top_p = 0.9});
  expect_probabilities("top_p_0.01", {.top_p = 0.01});
}

TEST(Sampling, draws_follow_the_probabilities) {
  const std::vector<float> logits{0.0F, std::log(2.0F), std::log(5.0F)};
  std::array<int, 3> count{};
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++count[static_cast<size_t>(sample(logits, {.seed = 3}, i))];
  const double sigma = std::sqrt(kDraws * 0.25);
  EXPECT_NEAR(count[0], kDraws / 8.0, 4 * sigma);
  EXPECT_NEAR(count[1], kDraws / 4.0, 4 * sigma);
  EXPECT_NEAR(count[2], kDraws * 5 / 8.0, 4 * sigma);
}

TEST(Sampling, same_seed_and_position_give_the_same_token) {
  const std::vector<float> logits(50, 0.0F);
  bool differs = false;
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(sample(logits, {.seed = 7}, i), sample(logits, {.seed = 7}, i));
    differs |= sample(logits, {.seed = 7}, i) != sample(logits, {.seed = 8}, i);
  }
  EXPECT_TRUE(differs);
}

TEST(Sampling, greedy_takes_the_first_largest) {
  const std::vector<float> logits{1, 3, 3, 2};
  EXPECT_EQ(sample(logits, {.temperature = 0}, 0), 1);
}

}  // namespace
}  // namespace nemo::runtime

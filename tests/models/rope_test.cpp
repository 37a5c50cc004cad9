#include "nemo/cpp/rope.hpp"

#include <gtest/gtest.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/models/safetensors.hpp"

namespace nemo::models_test {
namespace {

const std::string kFolder = NEMO_SOURCE_DIR "/tests/golden/models/rope_tables/";

sdk::RopeScaling scaling_of(const nlohmann::json& c) {
  const std::map<std::string, sdk::RopeType> types{{"default", sdk::RopeType::kNone},
                                                   {"linear", sdk::RopeType::kLinear},
                                                   {"llama3", sdk::RopeType::kLlama3},
                                                   {"yarn", sdk::RopeType::kYarn}};
  sdk::RopeScaling s;
  s.type = types.at(c["rope_type"]);
  s.factor = c.value("factor", 1.0);
  s.original_positions = c.value("original_max_position_embeddings", 0.0);
  s.low_freq_factor = c.value("low_freq_factor", 1.0);
  s.high_freq_factor = c.value("high_freq_factor", 4.0);
  s.beta_fast = c.value("beta_fast", 32.0);
  s.beta_slow = c.value("beta_slow", 1.0);
  s.mscale = c.value("mscale", 0.0);
  s.mscale_all_dim = c.value("mscale_all_dim", 0.0);
  s.truncate = c.value("truncate", true);
  return s;
}

TEST(Rope, frequencies_and_scale_equal_the_golden_tables) {
  std::ifstream file(kFolder + "index.json");
  const auto cases = nlohmann::json::parse(file);
  const auto tables = read_safetensors(kFolder + "rope_tables.safetensors");
  ASSERT_EQ(cases.size(), 14U);
  for (const auto& [name, c] : cases.items()) {
    const auto rope = sdk::rope_frequencies(c["dim"], c["rope_theta"], scaling_of(c));
    const auto& expected = tables.at("inv_freq." + name).data;
    ASSERT_EQ(rope.inverse.size(), expected.size()) << name;
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(rope.inverse[i], expected[i], 1e-7 * expected[i]) << name << " pair " << i;
    EXPECT_NEAR(rope.scale, c["attention_factor"].get<double>(), 1e-12) << name;
    const auto &cosines = tables.at("cos." + name).data, &sines = tables.at("sin." + name).data;
    for (size_t p = 0; p < c["positions"].size(); ++p)
      for (size_t i = 0; i < expected.size(); ++i) {
        const double angle = c["positions"][p].get<double>() * rope.inverse[i];
        const double tolerance = angle > 4096 ? 2e-3 : 1e-5 * std::max(1.0, angle);
        EXPECT_NEAR(rope.scale * std::cos(angle), cosines[p * expected.size() + i], tolerance) << name;
        EXPECT_NEAR(rope.scale * std::sin(angle), sines[p * expected.size() + i], tolerance) << name;
      }
  }
}

TEST(Rope, attention_factor_overrides_the_one_of_the_formula) {
  sdk::RopeScaling s;
  s.type = sdk::RopeType::kYarn, s.factor = 4, s.original_positions = 4096, s.attention_factor = 0.75;
  EXPECT_EQ(sdk::rope_frequencies(64, 1e4, s).scale, 0.75);
}

}  // namespace
}  // namespace nemo::models_test

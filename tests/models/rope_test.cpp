#include "nemo/cpp/rope.hpp"

#include <gtest/gtest.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/models/plugin_library.hpp"
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

// Frequencies and scale of transformers 4.46's ROPE_INIT_FUNCTIONS["longrope"] (in f32) for heads of 8 elements.
struct LongRope {
  double last, first, theta;  // contexts
  std::vector<double> inverse;
  double scale;
};
const std::vector<double> kShort{1, 1.1, 1.3, 1.7}, kLong{1, 2.5, 6, 11.5};

TEST(Rope, longrope_equals_transformers) {
  for (const LongRope& want :
       {LongRope{131072, 4096, 1e4, {1.0, 0.03999999910593033, 0.0016666667070239782, 8.695651922607794e-05}, 1.1902380714238083},
        LongRope{131072, 131072, 1e4, {1.0, 0.09090909361839294, 0.007692307699471712, 0.0005882352706976235}, 1.0},
        LongRope{4096, 2048, 5e5, {1.0, 0.015042412094771862, 0.00023570226039737463, 4.624605026037898e-06}, 1.044465935734187}}) {
    sdk::RopeScaling s;
    s.type = sdk::RopeType::kLong, s.factor = want.last / want.first, s.original_positions = want.first;
    s.pair_factor = want.last > want.first ? kLong : kShort;
    const auto rope = sdk::rope_frequencies(8, want.theta, s);
    ASSERT_EQ(rope.inverse.size(), want.inverse.size());
    for (size_t i = 0; i < want.inverse.size(); ++i) EXPECT_NEAR(rope.inverse[i], want.inverse[i], 2e-7 * want.inverse[i]) << i;
    EXPECT_NEAR(rope.scale, want.scale, 1e-12);
    s.attention_factor = 0.75;
    EXPECT_EQ(sdk::rope_frequencies(8, want.theta, s).scale, 0.75);
  }
}

std::vector<double> phi3_frequencies(int64_t seq, const nlohmann::json& scaling) {
  const graph::Graph graph = build_model({{"plugin", "phi3"},
                                          {"num_layers", 1},
                                          {"hidden_size", 16},
                                          {"ffn_hidden_size", 16},
                                          {"num_attention_heads", 2},
                                          {"vocab_size", 32},
                                          {"max_position_embeddings", 64},
                                          {"rope_scaling", scaling}},
                                         {1, seq, 0});
  for (const graph::Op& op : graph.ops)
    if (op.name() == "rope") return std::get<std::vector<double>>(op.attrs.at("inv_freq"));
  return {};
}

TEST(Rope, longrope_takes_its_long_factors_for_sequences_beyond_the_first_context) {
  const nlohmann::json scaling{
      {"type", "longrope"}, {"original_max_position_embeddings", 8}, {"short_factor", kShort}, {"long_factor", kLong}};
  const auto within = phi3_frequencies(8, scaling), beyond = phi3_frequencies(9, scaling);
  for (size_t i = 0; i < 4; ++i) {
    const double plain = std::pow(1e4, -double(i) / 4);
    EXPECT_NEAR(within.at(i), plain / kShort[i], 1e-15);
    EXPECT_NEAR(beyond.at(i), plain / kLong[i], 1e-15);
  }
}

TEST(Rope, longrope_needs_a_factor_for_every_pair) {
  nlohmann::json scaling{{"type", "longrope"}, {"short_factor", kShort}, {"long_factor", {1, 2, 3}}};
  try {
    (void)phi3_frequencies(8, scaling);
    FAIL() << "three factors for four pairs were accepted";
  } catch (const Fault& f) {
    EXPECT_EQ(f.facts.at("path"), "rope_scaling.long_factor");
    EXPECT_NE(std::string(f.what()).find("has 3 factors"), std::string::npos) << f.what();
  }
  scaling["long_factor"] = {1, 2, 0, 4};
  EXPECT_THROW((void)phi3_frequencies(8, scaling), Fault);
}

}  // namespace
}  // namespace nemo::models_test

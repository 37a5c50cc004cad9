// Faults between settings name the setting and what would fix it.
#include <gmock/gmock.h>

#include "tests/models/plugin_library.hpp"

namespace nemo::models_test {
namespace {

struct Case {
  const char* plugin;
  nlohmann::json change;  // over a model of 8 wide with 4 heads
  const char* path;
  const char* says;
};

Fault fault_of(const Case& c) {
  nlohmann::json settings{{"plugin", c.plugin}, {"num_layers", 1}, {"hidden_size", 8}, {"num_attention_heads", 4}, {"vocab_size", 10}};
  settings.update(c.change);
  try {
    (void)build_model(settings, {2, 16, 9});
  } catch (const Fault& f) {
    return f;
  }
  return {0, "no fault", {}};
}

TEST(Models, cross_field_faults_name_the_setting) {
  using nlohmann::json;
  const Case cases[] = {
      {"gpt", {{"num_attention_heads", 3}}, "num_attention_heads", "num_attention_heads = 3 does not divide hidden_size = 8"},
      {"llama", {{"num_attention_heads", 3}}, "num_attention_heads", "num_attention_heads = 3 does not divide hidden_size = 8"},
      {"llama", {{"num_query_groups", 3}}, "num_query_groups", "num_query_groups = 3 does not divide num_attention_heads = 4"},
      {"llama", {{"kv_channels", 5}}, "kv_channels", "head size 5 must be even"},
      {"gpt", {{"max_position_embeddings", 15}}, "max_position_embeddings", "data.seq_length = 16 exceeds max_position_embeddings = 15"},
      {"llama", {{"max_position_embeddings", 15}}, "max_position_embeddings", "data.seq_length = 16 exceeds max_position_embeddings = 15"},
      {"gpt", {{"vocab_size", 8}}, "vocab_size", "vocab_size = 8 is smaller than the tokenizer's 9"},
      {"llama", {{"rope_scaling", {{"type", "llama3"}, {"low_freq_factor", 4}}}}, "rope_scaling.high_freq_factor", "must be above"},
      {"llama", {{"rope_scaling", {{"type", "yarn"}, {"beta_slow", 40}}}}, "rope_scaling.beta_fast", "beta_slow < rope_scaling.beta_fast"},
  };
  for (const Case& c : cases) {
    const Fault f = fault_of(c);
    EXPECT_EQ(f.code, NEMO_CODE_CONFIG_INVALID) << c.plugin << c.change;
    EXPECT_THAT(f.what(), testing::HasSubstr(c.says)) << c.plugin << c.change;
    EXPECT_EQ(f.facts.at("path"), c.path);
  }
}

TEST(Models, unknown_vocabulary_is_a_fault) {
  for (const char* plugin : {"gpt", "llama"}) {
    try {
      (void)build_model({{"plugin", plugin}, {"num_layers", 1}, {"hidden_size", 8}, {"num_attention_heads", 4}}, {2, 16, 0});
      FAIL() << plugin;
    } catch (const Fault& f) {
      EXPECT_EQ(f.facts.at("path"), "vocab_size");
    }
  }
}

}  // namespace
}  // namespace nemo::models_test

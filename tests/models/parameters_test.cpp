// Names, shapes, axes, initial values and counts of the parameters that gpt and llama declare.
#include <gmock/gmock.h>
#include <algorithm>

#include "tests/models/plugin_library.hpp"

namespace nemo::models_test {
namespace {

int64_t parameter_count(const graph::Graph& graph) {
  int64_t n = 0;
  for (const auto& p : graph.parameters) n += element_count(p.dims);
  return n;
}

// "name[axis size, ...]" of all parameters, in order of declaration.
std::vector<std::string> declared(const graph::Graph& graph) {
  std::vector<std::string> out;
  for (const auto& p : graph.parameters) {
    std::string dims;
    for (const auto& d : p.dims) dims += (dims.empty() ? "" : ", ") + d.axis + " " + std::to_string(d.size);
    out.push_back(p.name + "[" + dims + "]");
  }
  return out;
}

const graph::Parameter& find(const graph::Graph& graph, const std::string& name) {
  for (const auto& p : graph.parameters)
    if (p.name == name) return p;
  throw std::runtime_error("no parameter " + name);
}

std::vector<std::string> op_names(const graph::Graph& graph, const std::string& scope) {
  std::vector<std::string> out;
  for (const auto& op : graph.ops)
    if (op.scope == scope) out.emplace_back(op.name());
  return out;
}

nlohmann::json small(const char* plugin) {
  return {{"plugin", plugin},         {"num_layers", 1},       {"hidden_size", 8},
          {"num_attention_heads", 4}, {"ffn_hidden_size", 12}, {"vocab_size", 10}};
}

TEST(Recipes, gpt2_124m_has_124439808_parameters) {
  EXPECT_EQ(parameter_count(build_model(recipe_model("gpt2_124m"), {4, 1024, 50257})), 124439808);
}
TEST(Recipes, llama3_8b_has_8030261248_parameters) {
  EXPECT_EQ(parameter_count(build_model(recipe_model("llama3_8b"), {1, 8192, 128256})), 8030261248);
}
TEST(Recipes, llama32_1b_has_1235814400_parameters) {
  EXPECT_EQ(parameter_count(build_model(recipe_model("llama32_1b"), {1, 8192, 128256})), 1235814400);
}
TEST(Recipes, quickstart_takes_vocabulary_and_positions_from_the_run) {
  const auto graph = build_model(recipe_model("quickstart"), {12, 64, 65});
  EXPECT_THAT(declared(graph), testing::Contains("embedding.word.weight[vocab 68, embed 128]"));  // a multiple of 4
  EXPECT_THAT(declared(graph), testing::Contains("embedding.position.weight[positions 64, embed 128]"));
}

TEST(Gpt, declares_parameters_in_the_order_of_the_paper) {
  const std::vector<std::string> expected{
      "embedding.word.weight[vocab 10, embed 8]",
      "embedding.position.weight[positions 6, embed 8]",
      "layers.0.input_norm.weight[embed 8]",
      "layers.0.input_norm.bias[embed 8]",
      "layers.0.attention.q.weight[heads 4, head_dim 2, embed 8]",
      "layers.0.attention.q.bias[heads 4, head_dim 2]",
      "layers.0.attention.k.weight[kv_heads 4, head_dim 2, embed 8]",
      "layers.0.attention.k.bias[kv_heads 4, head_dim 2]",
      "layers.0.attention.v.weight[kv_heads 4, head_dim 2, embed 8]",
      "layers.0.attention.v.bias[kv_heads 4, head_dim 2]",
      "layers.0.attention.o.weight[embed 8, heads 4, head_dim 2]",
      "layers.0.attention.o.bias[embed 8]",
      "layers.0.post_attention_norm.weight[embed 8]",
      "layers.0.post_attention_norm.bias[embed 8]",
      "layers.0.mlp.up.weight[mlp 12, embed 8]",
      "layers.0.mlp.up.bias[mlp 12]",
      "layers.0.mlp.down.weight[embed 8, mlp 12]",
      "layers.0.mlp.down.bias[embed 8]",
      "final_norm.weight[embed 8]",
      "final_norm.bias[embed 8]",
  };
  EXPECT_EQ(declared(build_model(small("gpt"), {2, 6, 0})), expected);
}

TEST(Llama, declares_parameters_in_the_order_of_the_paper) {
  const std::vector<std::string> expected{
      "embedding.word.weight[vocab 10, embed 8]",
      "layers.0.input_norm.weight[embed 8]",
      "layers.0.attention.q.weight[heads 4, head_dim 6, embed 8]",
      "layers.0.attention.k.weight[kv_heads 2, head_dim 6, embed 8]",
      "layers.0.attention.v.weight[kv_heads 2, head_dim 6, embed 8]",
      "layers.0.attention.o.weight[embed 8, heads 4, head_dim 6]",
      "layers.0.post_attention_norm.weight[embed 8]",
      "layers.0.mlp.gate.weight[mlp 12, embed 8]",
      "layers.0.mlp.up.weight[mlp 12, embed 8]",
      "layers.0.mlp.down.weight[embed 8, mlp 12]",
      "final_norm.weight[embed 8]",
      "output.weight[vocab 10, embed 8]",
  };
  auto settings = small("llama");
  settings["num_query_groups"] = 2;
  settings["kv_channels"] = 6;
  EXPECT_EQ(declared(build_model(settings, {2, 6, 0})), expected);
}

TEST(Llama, sibling_linears_follow_each_other) {
  const auto graph = build_model(small("llama"), {2, 6, 0});
  EXPECT_THAT(op_names(graph, "layers.0.attention"),
              testing::ElementsAre("linear", "linear", "linear", "rope", "rope", "attention", "linear"));
  EXPECT_THAT(op_names(graph, "layers.0.mlp"), testing::ElementsAre("linear", "linear", "glu", "linear"));
}

TEST(Llama, width_of_the_mlp_follows_the_paper_where_the_recipe_leaves_it) {
  auto settings = small("llama");
  settings["ffn_hidden_size"] = 0;
  settings["hidden_size"] = 4096;
  settings["num_attention_heads"] = 32;
  EXPECT_EQ(find(build_model(settings, {1, 8, 0}), "layers.0.mlp.up.weight").dims[0].size, 11008);  // Llama 1 and 2, 7B
}

TEST(Llama, biases_appear_where_asked) {
  auto settings = small("llama");
  settings["add_qkv_bias"] = true;
  const auto qkv = declared(build_model(settings, {2, 6, 0}));
  EXPECT_THAT(qkv, testing::Contains("layers.0.attention.k.bias[kv_heads 4, head_dim 2]"));
  EXPECT_THAT(qkv, testing::Not(testing::Contains("layers.0.attention.o.bias[embed 8]")));
  settings["attention_bias"] = settings["mlp_bias"] = true;
  const auto all = declared(build_model(settings, {2, 6, 0}));
  EXPECT_THAT(all, testing::IsSupersetOf({"layers.0.attention.o.bias[embed 8]", "layers.0.mlp.gate.bias[mlp 12]"}));
}

TEST(Models, initial_values_follow_the_scaled_rule_and_vectors_do_not_decay) {
  for (const char* plugin : {"gpt", "llama"}) {
    auto settings = small(plugin);
    settings["num_layers"] = 8;
    const auto graph = build_model(settings, {2, 6, 0});
    EXPECT_EQ(find(graph, "layers.7.mlp.up.weight").init.b, 0.02);
    EXPECT_DOUBLE_EQ(find(graph, "layers.7.mlp.down.weight").init.b, 0.02 / 4);
    EXPECT_DOUBLE_EQ(find(graph, "layers.7.attention.o.weight").init.b, 0.02 / 4);
    EXPECT_EQ(find(graph, "final_norm.weight").init.a, 1);
    for (const auto& p : graph.parameters) EXPECT_EQ(p.decay, !p.name.ends_with("norm.weight") && !p.name.ends_with("bias")) << p.name;
  }
}

TEST(Models, blocks_hold_the_layers_and_nothing_else) {
  for (const char* plugin : {"gpt", "llama"}) {
    auto settings = small(plugin);
    settings["num_layers"] = 3;
    const auto graph = build_model(settings, {2, 6, 0});
    ASSERT_EQ(graph.blocks.size(), 3U);
    for (const auto& p : graph.parameters) EXPECT_EQ(p.block, p.name.starts_with("layers.") ? p.name[7] - '0' : -1) << p.name;
  }
}

TEST(Models, vocabulary_is_padded_to_the_multiple_asked_for) {
  for (const char* plugin : {"gpt", "llama"}) {
    auto settings = small(plugin);
    settings["vocab_size"] = 0;
    settings["make_vocab_size_divisible_by"] = 128;
    EXPECT_EQ(find(build_model(settings, {2, 6, 50257}), "embedding.word.weight").dims[0].size, 50304);
  }
}

TEST(Models, segments_of_packed_documents_reach_attention) {
  for (const char* plugin : {"gpt", "llama"}) {
    const auto packed = build_model(small(plugin), {2, 6, 0, {"segments"}});
    const auto attention = std::find_if(packed.ops.begin(), packed.ops.end(), [](const auto& op) { return op.name() == "attention"; });
    ASSERT_NE(packed.find_input("segments"), 0U);
    EXPECT_EQ(attention->inputs[3], packed.find_input("segments")) << plugin;
  }
}

TEST(Gpt, each_dropout_has_its_own_key_and_none_exists_at_zero) {
  auto settings = small("gpt");
  EXPECT_EQ(build_model(settings, {2, 6, 0}).find_input("rng"), 0U);
  settings["num_layers"] = 2;
  settings["hidden_dropout"] = 0.1;
  settings["embedding_dropout"] = 0.1;
  std::vector<int64_t> keys;
  const auto graph = build_model(settings, {2, 6, 0});
  for (const auto& op : graph.ops)
    if (op.name() == "dropout") keys.push_back(op.int_attr("key"));
  EXPECT_THAT(keys, testing::ElementsAre(1, 2, 3, 4, 5));
}

}  // namespace
}  // namespace nemo::models_test

// The graphs of gpt and llama, with Hugging Face weights, give Hugging Face's logits and loss. Evaluated naively in f64: checks the
// model plugins and tests/golden/models/*/map.json, not the runtime.
#include <gtest/gtest.h>
#include <fstream>

#include "tests/models/evaluate.hpp"
#include "tests/models/plugin_library.hpp"

namespace nemo::models_test {
namespace {

const std::string kGolden = NEMO_SOURCE_DIR "/tests/golden/models/";

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

Array transposed(const Array& a) {
  const int64_t rows = a.shape.at(0), columns = a.shape.at(1);
  Array out{{columns, rows}, std::vector<double>(a.data.size())};
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) out.data[j * rows + i] = a.data[i * columns + j];
  return out;
}

Array mapped(const nlohmann::json& rule, const std::map<std::string, Array>& weights) {
  Array a = weights.at(rule.at("source"));
  if (rule.value("transpose", false)) a = transposed(a);
  if (!rule.contains("rows")) return a;
  const int64_t begin = rule["rows"][0], end = rule["rows"][1], width = int64_t(a.data.size()) / a.shape[0];
  return {{}, {a.data.begin() + begin * width, a.data.begin() + end * width}};
}

// Labels of the golden files are the tokens themselves; a model's label is the next token.
Array shifted(const Array& labels) {
  Array out = labels;
  const int64_t seq = labels.shape[1];
  for (size_t i = 0; i < out.data.size(); ++i) out.data[i] = int64_t(i) % seq == seq - 1 ? -100 : labels.data[i + 1];
  return out;
}

std::map<std::string, Array> batch(const std::map<std::string, Array>& golden) {
  const Array& tokens = golden.at("input_ids");
  Array positions = tokens;
  for (size_t i = 0; i < positions.data.size(); ++i) positions.data[i] = double(int64_t(i) % tokens.shape[1]);
  return {{"tokens", tokens}, {"positions", positions}, {"labels", shifted(golden.at("labels"))}};
}

class GoldenModel : public testing::TestWithParam<const char*> {
 protected:
  std::string folder = kGolden + GetParam();
  nlohmann::json map = read_json(folder + "/map.json");
  std::map<std::string, Array> golden = read_safetensors(folder + "/golden.safetensors");
  std::map<std::string, Array> weights = read_safetensors(folder + "/model.safetensors");
  graph::Graph graph = build_model(map["model"], {golden.at("input_ids").shape[0], golden.at("input_ids").shape[1], 0});
};

TEST_P(GoldenModel, map_covers_every_parameter_and_every_source_element_once) {
  std::map<std::string, int64_t> used;
  for (const graph::Parameter& p : graph.parameters) {
    ASSERT_TRUE(map["parameters"].contains(p.name)) << p.name;
    const Array source = mapped(map["parameters"][p.name], weights);
    EXPECT_EQ(int64_t(source.data.size()), element_count(p.dims)) << p.name;
    used[map["parameters"][p.name]["source"]] += int64_t(source.data.size());
  }
  EXPECT_EQ(map["parameters"].size(), graph.parameters.size());
  for (const auto& [name, weight] : weights) EXPECT_EQ(used[name], int64_t(weight.data.size())) << name;
}

TEST_P(GoldenModel, graph_gives_the_logits_and_loss_of_hugging_face) {
  auto fed = batch(golden);
  for (const graph::Parameter& p : graph.parameters) fed[p.name] = mapped(map["parameters"].at(p.name), weights);
  const auto out = evaluate(graph, fed);
  const Array& expected = golden.at("logits");
  ASSERT_EQ(out.at("logits").shape, expected.shape);
  for (size_t i = 0; i < expected.data.size(); ++i)
    ASSERT_NEAR(out.at("logits").data[i], expected.data[i], 2e-5 + 1e-4 * std::abs(expected.data[i])) << "at " << i;
  int64_t counted = 0;
  for (const double label : fed["labels"].data) counted += label != -100;
  EXPECT_NEAR(out.at("loss").data[0] / double(counted), read_json(folder + "/golden.json")["loss"].get<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(models, GoldenModel, testing::Values("gpt2", "llama", "llama3_rope_tied", "llama_linear_rope", "llama_yarn_bias"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace nemo::models_test

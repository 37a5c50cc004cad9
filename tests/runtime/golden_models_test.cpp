// Whole models on the compiled runtime against transformers: logits, loss, gradients, three AdamW steps, greedy tokens. Contents and
// tolerances: tests/golden/models/README.md.
#include <cmath>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/runtime/generate.hpp"
#include "tests/runtime/session.hpp"
#include "tests/support/safetensors.hpp"

namespace nemo::runtime_test {
namespace {

using nlohmann::json;
using passes::Purpose;
using runtime::Role;

struct Golden {
  explicit Golden(const std::string& model)
      : folder(NEMO_SOURCE_DIR "/tests/golden/models/" + model + "/"),
        weights(folder + "model.safetensors"),
        tensors(folder + "golden.safetensors"),
        facts(json::parse(std::ifstream(folder + "golden.json"))),
        map(json::parse(std::ifstream(folder + "map.json"))) {}
  std::string folder;
  testing::Safetensors weights, tensors;
  json facts, map;
};

std::string toml_value(const json& v) { return v.is_string() ? v.dump() : v.is_object() ? "" : v.dump(); }

// The [model] section of map.json, nested tables as dotted keys.
void write_model(std::string& out, const json& object, const std::string& prefix) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object())
      write_model(out, value, prefix + key + ".");
    else
      out += prefix + key + " = " + toml_value(value) + "\n";
  }
}

std::string recipe(const Golden& g, int64_t batch, int64_t seq) {
  std::string out = "[model]\n";
  write_model(out, g.map["model"], "");
  out += "[data]\nplugin = \"mock\"\nseq_length = " + std::to_string(seq) + "\nmicro_batch_size = " + std::to_string(batch) +
         "\nglobal_batch_size = " + std::to_string(batch) +
         "\n[optim]\nlr = 1e-3\nbetas = [0.9, 0.95]\neps = 1e-8\nweight_decay = 0.1\ndecay = \"all\"\nclip_grad_norm = 1.0\n"
         "[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n";
  return out;
}

// Our layout of a tensor in checkpoint layout, by the rule of map.json.
std::vector<float> mapped(const json& rule, const testing::GoldenTensor& source) {
  std::vector<float> values = source.as<float>();
  if (rule.value("transpose", false)) {
    const int64_t rows = source.shape[0], columns = source.shape[1];
    std::vector<float> turned(values.size());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) turned[static_cast<size_t>(c * rows + r)] = values[static_cast<size_t>(r * columns + c)];
    values = std::move(turned);
  }
  if (!rule.contains("rows")) return values;
  const int64_t height = rule.value("transpose", false) ? source.shape[1] : source.shape[0];
  const auto width = static_cast<int64_t>(values.size()) / height;
  return {values.begin() + rule["rows"][0].get<int64_t>() * width, values.begin() + rule["rows"][1].get<int64_t>() * width};
}

void load(Session& session, const Golden& g) {
  for (const auto& [name, rule] : g.map["parameters"].items()) {
    runtime::State& state = session.engine->state();
    state.write_parameter(state.find(name), mapped(rule, g.weights.at(rule["source"])));
  }
}

std::vector<int32_t> shifted(const std::vector<int32_t>& labels, int64_t seq) {
  std::vector<int32_t> out(labels.size(), -100);
  for (size_t i = 0; i + 1 < labels.size(); ++i)
    if (static_cast<int64_t>(i + 1) % seq != 0) out[i] = labels[i + 1];
  return out;
}

runtime::Batch batch_of(const Golden& g, const std::string& ids, const std::string& labels, int64_t first, int64_t count, int64_t seq) {
  const auto all_ids = g.tensors.at(ids).as<int32_t>(), all_labels = g.tensors.at(labels).as<int32_t>();
  return Session::batch({all_ids.begin() + first, all_ids.begin() + first + count},
                        shifted({all_labels.begin() + first, all_labels.begin() + first + count}, seq));
}

std::vector<float> logits_of(Session& session, const runtime::Batch& batch) {
  runtime::Program& program = session.engine->program(Purpose::kLogits);
  runtime::feed(session.engine->device(), program, batch, 0, 0);
  program.run();
  const graph::Graph& graph = program.compiled().graph;
  std::vector<float> out(static_cast<size_t>(element_count(graph.value(graph.find_output("logits")).dims)));
  session.engine->device().copy_out(out.data(), program.output("logits"), static_cast<int64_t>(out.size() * sizeof(float)));
  return out;
}

void expect_close(const std::vector<float>& actual, const std::vector<float>& expected, double absolute, double relative,
                  const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i)
    ASSERT_LE(std::abs(actual[i] - expected[i]), absolute + relative * std::abs(expected[i]))
        << what << " element " << i << ": " << actual[i] << " for " << expected[i];
}

class GoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenModel() : golden(GetParam()), shape(golden.tensors.at("input_ids").shape), count(shape[0] * shape[1]) {}
  std::unique_ptr<Session> session(std::set<Purpose> purposes) {
    auto s = std::make_unique<Session>(plugins, recipe(golden, shape[0], shape[1]), std::move(purposes));
    load(*s, golden);
    return s;
  }
  Plugins plugins;
  Golden golden;
  std::vector<int64_t> shape;
  int64_t count;
};

TEST_P(GoldenModel, logits_and_loss_equal_transformers) {
  const auto s = session({Purpose::kLogits, Purpose::kEvaluate});
  const runtime::Batch batch = batch_of(golden, "input_ids", "labels", 0, count, shape[1]);
  expect_close(logits_of(*s, batch), golden.tensors.at("logits").as<float>(), 2e-5, 1e-4, "logits");
  EXPECT_NEAR(s->loss(Purpose::kEvaluate, batch), golden.facts["loss"].get<double>(), 1e-5);
}

TEST_P(GoldenModel, right_padding_does_not_change_tokens_before_it) {
  const auto s = session({Purpose::kLogits, Purpose::kEvaluate});
  const runtime::Batch batch = batch_of(golden, "pad_input_ids", "pad_labels", 0, count, shape[1]);
  std::vector<float> actual = logits_of(*s, batch);
  const auto mask = golden.tensors.at("pad_attention_mask").as<int32_t>();
  const size_t vocab = actual.size() / mask.size();
  for (size_t i = 0; i < actual.size(); ++i)
    if (mask[i / vocab] == 0) actual[i] = 0;
  expect_close(actual, golden.tensors.at("pad_logits").as<float>(), 2e-5, 1e-4, "pad_logits");
  EXPECT_NEAR(s->loss(Purpose::kEvaluate, batch), golden.facts["pad_loss"].get<double>(), 1e-5);
}

TEST_P(GoldenModel, gradients_equal_transformers) {
  const auto s = session({Purpose::kTrain});
  const runtime::Batch batch = batch_of(golden, "input_ids", "labels", 0, count, shape[1]);
  EXPECT_NEAR(s->loss(Purpose::kTrain, batch), golden.facts["loss"].get<double>(), 1e-5);
  int compared = 0;
  for (const auto& [name, rule] : golden.map["parameters"].items()) {
    const std::string key = "grad." + rule["source"].get<std::string>();
    if (!golden.tensors.has(key)) continue;
    const std::vector<float> expected = mapped(rule, golden.tensors.at(key));
    const std::vector<float> actual = s->engine->state().read(Role::kGradient, s->engine->state().find(name));
    double difference = 0, size = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      difference += std::pow(actual[i] / static_cast<double>(batch.unmasked_tokens) - expected[i], 2);
      size += std::pow(expected[i], 2);
    }
    EXPECT_LE(std::sqrt(difference), 1e-4 * std::sqrt(size)) << name;
    ++compared;
  }
  EXPECT_GE(compared, 5);
  const double norm = s->optimizer->step(0, 1, static_cast<double>(batch.unmasked_tokens));
  EXPECT_NEAR(norm, golden.facts["grad_norm"].get<double>(), 1e-4 * norm);
}

TEST_P(GoldenModel, three_adamw_steps_equal_torch) {
  const auto s = session({Purpose::kTrain, Purpose::kLogits});
  for (int64_t step = 0; step < 3; ++step) {
    const runtime::Batch batch = batch_of(golden, "train_input_ids", "train_labels", step * count, count, shape[1]);
    EXPECT_NEAR(s->loss(Purpose::kTrain, batch), golden.facts["train"]["losses"][static_cast<size_t>(step)].get<double>(), 2e-5)
        << "step " << step;
    s->optimizer->step(1e-3, step + 1, static_cast<double>(batch.unmasked_tokens));
  }
  for (const auto& [name, rule] : golden.map["parameters"].items()) {
    const std::string key = "after3." + rule["source"].get<std::string>();
    if (!golden.tensors.has(key)) continue;
    const std::vector<float> expected = mapped(rule, golden.tensors.at(key));
    const std::vector<float> actual = s->engine->state().read(Role::kParameter, s->engine->state().find(name));
    double mean = 0;
    size_t near = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      const double d = std::abs(actual[i] - expected[i]);
      mean += d / static_cast<double>(actual.size());
      near += d <= 2e-5;
      ASSERT_LE(d, 6e-3) << name << " element " << i;
    }
    EXPECT_LE(mean, 5e-6) << name;
    EXPECT_GE(near, actual.size() * 99 / 100) << name;
  }
  const runtime::Batch batch = batch_of(golden, "input_ids", "labels", 0, count, shape[1]);
  expect_close(logits_of(*s, batch), golden.tensors.at("after3_logits").as<float>(), 2e-4, 1e-3, "after3_logits");
}

// Two rows, so that the second is read from another prompt length; with a context of the expected length.
std::vector<std::vector<int32_t>> greedy(Session& s, std::vector<std::vector<int32_t>> sequences, size_t length) {
  const auto model = runtime::make_sequence_model(*s.engine);
  while (sequences[0].size() < length) {
    const auto logits = model->next_logits(sequences);
    for (size_t n = 0; n < sequences.size(); ++n) sequences[n].push_back(runtime::sample(logits[n], {.temperature = 0}, 0));
  }
  return sequences;
}

TEST_P(GoldenModel, greedy_tokens_equal_transformers_with_and_without_cache) {
  const auto expected = golden.tensors.at("gen.output_ids").as<int32_t>();
  const auto prompt = golden.tensors.at("gen.prompt_ids").as<int32_t>();
  const auto length = static_cast<int64_t>(expected.size());
  for (const std::set<Purpose>& purposes : {std::set{Purpose::kLogits}, std::set{Purpose::kPrefill, Purpose::kDecode}}) {
    Session s(plugins, recipe(golden, 1, length), purposes);
    load(s, golden);
    EXPECT_EQ(greedy(s, {prompt}, expected.size())[0], expected);
  }
}

TEST_P(GoldenModel, rows_of_a_batch_do_not_see_each_other) {
  const auto expected = golden.tensors.at("gen.output_ids").as<int32_t>();
  const auto prompt = golden.tensors.at("gen.prompt_ids").as<int32_t>();
  Session s(plugins, recipe(golden, 3, static_cast<int64_t>(expected.size())), {Purpose::kPrefill, Purpose::kDecode});
  load(s, golden);
  const std::vector<int32_t> other(prompt.rbegin(), prompt.rbegin() + 2);
  EXPECT_EQ(greedy(s, {prompt, other, prompt}, expected.size())[2], expected);
}

INSTANTIATE_TEST_SUITE_P(, GoldenModel, ::testing::Values("gpt2", "llama", "llama3_rope_tied", "llama_linear_rope", "llama_yarn_bias"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nemo::runtime_test

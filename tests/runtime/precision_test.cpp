// Laws of precisions: what is quantized where and when, how near training stays to f32, loss scaling, and the bytes of narrow state.
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "core/runtime/loss_scaler.hpp"
#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

using passes::Purpose;
using runtime::Gradients;
using runtime::Role;

constexpr int64_t kSeq = 32, kVocab = 61;

std::string recipe(const std::string& model, const std::string& precision, int64_t micro) {
  return "[model]\n" + model +
         "vocab_size = 61\nmax_position_embeddings = 32\nnum_layers = 3\nhidden_size = 64\nnum_attention_heads = 4\n" +
         "[data]\nplugin = \"mock\"\nseq_length = 32\nmicro_batch_size = " + std::to_string(micro) +
         "\nglobal_batch_size = 4\n[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n[precision]\n" + precision;
}

const std::string kGpt = "plugin = \"gpt\"\n", kLlama = "plugin = \"llama\"\nnum_query_groups = 2\nffn_hidden_size = 96\n";
const std::string kFp32 = "plugin = \"fp32\"\n", kFp8 = "plugin = \"fp8\"\n",
                  kDelayed = kFp8 + "recipe = \"delayed\"\namax_history_len = 4\n";

// Each token says which one follows, mostly: there is something to learn.
runtime::Batch batch_of(int64_t samples, int64_t seed = 0) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::vector<int32_t> tokens, labels;
  for (int64_t i = 0; i < samples * kSeq; ++i) {
    tokens.push_back(static_cast<int32_t>(random() % kVocab));
    labels.push_back(random() % 8 == 0 ? static_cast<int32_t>(random() % kVocab) : (tokens.back() * 7 + 3) % static_cast<int32_t>(kVocab));
  }
  return Session::batch(std::move(tokens), std::move(labels));
}

std::vector<float> all_gradients(Session& s) {
  std::vector<float> all;
  for (size_t p = 0; p < s.engine->state().parameters().size(); ++p) {
    const auto g = s.engine->state().read(Role::kGradient, p);
    all.insert(all.end(), g.begin(), g.end());
  }
  return all;
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b, double factor = 1) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) difference += std::pow(a[i] * factor - b[i], 2), size += std::pow(double{b[i]}, 2);
  return std::sqrt(difference / size);
}

class PrecisionLaw : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Session> session(const std::string& precision, int64_t micro = 4) {
    auto s =
        std::make_unique<Session>(plugins, recipe(GetParam(), precision, micro), std::set<Purpose>{Purpose::kTrain, Purpose::kEvaluate});
    s->engine->state().initialize(11);
    return s;
  }
  static int64_t count(const Session& s, Purpose purpose, std::string_view op) {
    int64_t n = 0;
    for (const graph::Op& o : s.engine->compiled(purpose).graph.ops) n += o.name() == op;
    return n;
  }
  // Losses of training steps on fresh batches.
  static std::vector<double> train(Session& s, int64_t steps) {
    std::vector<double> losses;
    for (int64_t i = 0; i < steps; ++i) {
      const runtime::Batch batch = batch_of(4, i);
      losses.push_back(s.loss(Purpose::kTrain, batch));
      s.optimizer->step(3e-3, i + 1, static_cast<double>(batch.unmasked_tokens));
    }
    return losses;
  }
  static std::vector<float> history(Session& s) {
    const auto& entry = s.engine->state_layout().entries.at("quantize.amax_history");
    std::vector<float> values(static_cast<size_t>(entry.bytes) / sizeof(float));
    s.engine->device().copy_out(values.data(), s.engine->kept_state() + entry.offset, entry.bytes);
    return values;
  }
  Plugins plugins;
};
INSTANTIATE_TEST_SUITE_P(, PrecisionLaw, ::testing::Values(kGpt, kLlama),
                         [](const auto& info) { return info.param == kGpt ? "gpt" : "llama"; });

TEST_P(PrecisionLaw, fp8_gradients_point_where_f32_gradients_point) {
  const auto f32 = session(kFp32), fp8 = session(kFp8);
  EXPECT_NEAR(fp8->loss(Purpose::kTrain, batch_of(4)), f32->loss(Purpose::kTrain, batch_of(4)), 3e-2);
  EXPECT_LT(relative_difference(all_gradients(*fp8), all_gradients(*f32)), 0.15);
}

TEST_P(PrecisionLaw, fp8_training_follows_f32) {
  const auto f32 = session(kFp32), fp8 = session(kFp8), delayed = session(kDelayed);
  const std::vector<double> want = train(*f32, 60), got = train(*fp8, 60), late = train(*delayed, 60);
  EXPECT_LT(want.back(), 0.8 * want.front());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 0.03 * want[i]) << "step " << i;
    EXPECT_NEAR(late[i], want[i], 0.05 * want[i]) << "step " << i;
  }
}

TEST_P(PrecisionLaw, only_linears_inside_blocks_are_quantized) {
  const auto s = session(kFp8);
  EXPECT_EQ(count(*s, Purpose::kTrain, "linear_fp8"), 12);  // q|k|v, o, up (gate|up), down of three layers
  EXPECT_EQ(count(*s, Purpose::kTrain, "linear_dgrad_fp8"), 12);
  EXPECT_EQ(count(*s, Purpose::kTrain, "linear_wgrad_fp8"), 12);
  EXPECT_EQ(count(*s, Purpose::kTrain, "linear") + count(*s, Purpose::kTrain, "linear_wgrad"), 0);
  EXPECT_EQ(count(*s, Purpose::kTrain, "linear_cross_entropy_train"), 1);
  EXPECT_EQ(count(*s, Purpose::kTrain, "quantize"), 36);  // input, weight and gradient of each: one serves all its readers
  EXPECT_EQ(count(*s, Purpose::kEvaluate, "linear_fp8"), 12);
  const auto ends = session(kFp8 + "first_last_layers_bf16 = true\n");
  EXPECT_EQ(count(*ends, Purpose::kTrain, "linear_fp8"), 4);
  const auto start = session(kFp8 + "first_last_layers_bf16 = true\nnum_layers_at_end_in_bf16 = 0\n");
  EXPECT_EQ(count(*start, Purpose::kTrain, "linear_fp8"), 8);
}

TEST_P(PrecisionLaw, weights_are_quantized_in_the_first_micro_batch_only) {
  const auto s = session(kFp8);
  const double loss = s->loss(Purpose::kTrain, batch_of(4));
  const std::vector<float> once = all_gradients(*s);
  runtime::State& state = s->engine->state();
  size_t weight = 0;
  while (state.parameters()[weight].block != 1 || state.parameters()[weight].dims.size() < 2) ++weight;
  const std::vector<float> before = state.read(Role::kParameter, weight);
  state.write_parameter(weight, std::vector<float>(before.size(), 0.5F));
  EXPECT_EQ(s->loss(Purpose::kTrain, batch_of(4), Gradients::kAccumulate), loss);
  const std::vector<float> twice = all_gradients(*s);
  for (size_t i = 0; i < once.size(); ++i) ASSERT_NEAR(twice[i], 2 * once[i], 1e-5 * std::abs(once[i]) + 1e-7) << i;
  EXPECT_NE(s->loss(Purpose::kTrain, batch_of(4)), loss);
}

TEST_P(PrecisionLaw, delayed_scaling_remembers_and_settles_on_current_scaling) {
  const auto current = session(kFp8), delayed = session(kDelayed);
  const double loss = current->loss(Purpose::kTrain, batch_of(4));
  for (int i = 0; i < 3; ++i) delayed->loss(Purpose::kTrain, batch_of(4));
  EXPECT_NEAR(delayed->loss(Purpose::kTrain, batch_of(4)), loss, 1e-2);
  EXPECT_LT(relative_difference(all_gradients(*delayed), all_gradients(*current)), 0.1);
  const std::vector<float> kept = history(*delayed);
  EXPECT_EQ(kept.size(), 24U * 4);  // inputs and gradients of 12 linears
  for (const float amax : kept) EXPECT_GT(amax, 0);
  delayed->loss(Purpose::kEvaluate, batch_of(4));
  EXPECT_EQ(history(*delayed), kept) << "evaluation must not move the history of training";
}

TEST_P(PrecisionLaw, sizes_that_are_no_multiple_of_16_stay_in_bf16) {
  const std::string odd = "plugin = \"llama\"\nnum_query_groups = 4\nffn_hidden_size = 100\n";
  Session s(plugins, recipe(odd, kFp8, 4), {Purpose::kTrain});
  s.engine->state().initialize(1);
  EXPECT_EQ(count(s, Purpose::kTrain, "linear_fp8"), 6);  // not down; gate|up is 200 rows
  EXPECT_TRUE(std::isfinite(s.loss(Purpose::kTrain, batch_of(4))));
}

TEST_P(PrecisionLaw, f16_gradients_times_the_loss_scale_point_where_f32_gradients_point) {
  const auto f32 = session(kFp32), f16 = session("plugin = \"fp16-mixed\"\n");
  const double loss = f32->loss(Purpose::kTrain, batch_of(4));
  runtime::Program& program = f16->engine->program(Purpose::kTrain);
  for (const double scale : {1.0, 256.0}) {
    runtime::feed(f16->engine->device(), program, batch_of(4), 1, 0, scale);
    program.run();
    EXPECT_LT(relative_difference(all_gradients(*f16), all_gradients(*f32), 1 / scale), 1e-2) << scale;
  }
  EXPECT_NEAR(f16->loss(Purpose::kTrain, batch_of(4)), loss, 5e-3);
}

TEST_P(PrecisionLaw, tf32_is_f32_where_there_are_no_such_units) {
  const auto f32 = session(kFp32), tf32 = session("plugin = \"tf32\"\n");
  EXPECT_EQ(tf32->loss(Purpose::kTrain, batch_of(4)), f32->loss(Purpose::kTrain, batch_of(4)));
  int64_t allowed = 0;
  for (const graph::Op& op : tf32->engine->compiled(Purpose::kTrain).graph.ops) allowed += op.attrs.contains("tf32");
  EXPECT_EQ(allowed, 3 * 12 + 1);
}

TEST_P(PrecisionLaw, narrow_state_takes_12_bytes_per_parameter_and_trains) {
  const std::string narrow = "grad_dtype = \"bf16\"\nexp_avg_dtype = \"bf16\"\nexp_avg_sq_dtype = \"bf16\"\n";
  const auto wide = session("plugin = \"bf16-mixed\"\n"), slim = session("plugin = \"bf16-mixed\"\n" + narrow);
  const auto bytes = [](const Session& s) {
    int64_t sum = 0;
    for (const auto& row : s.engine->report().rows)
      if (row.name == "parameters" || row.name == "master weights" || row.name == "gradients" || row.name.starts_with("optimizer"))
        sum += row.bytes;
    return sum / s.engine->state().layout().total;
  };
  EXPECT_EQ(bytes(*wide), 18);
  EXPECT_EQ(bytes(*slim), 12);
  const std::vector<double> want = train(*wide, 40), got = train(*slim, 40);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 0.02 * want[i]) << "step " << i;
}

TEST(LossScaler, halves_after_hysteresis_and_doubles_after_a_window) {
  runtime::LossScaler s({1024, 1, 3, 2});
  EXPECT_TRUE(s.update(false));
  EXPECT_EQ(s.scale(), 1024);
  EXPECT_TRUE(s.update(false));
  EXPECT_EQ(s.scale(), 512);
  EXPECT_TRUE(s.update(false));  // hysteresis is counted anew when the scale grows, not before
  EXPECT_EQ(s.scale(), 256);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(s.update(true));
  EXPECT_EQ(s.scale(), 512);
  EXPECT_TRUE(s.update(false));
  EXPECT_EQ(s.scale(), 512);
  EXPECT_EQ(s.state().skipped_steps, 4);
}

TEST(LossScaler, gives_up_at_the_smallest_scale_and_without_scaling) {
  runtime::LossScaler s({2, 1, 1000, 1});
  EXPECT_TRUE(s.update(false));
  EXPECT_FALSE(s.update(false));
  EXPECT_EQ(s.scale(), 1);
  runtime::LossScaler none({});
  EXPECT_EQ(none.scale(), 1);
  EXPECT_TRUE(none.update(true));
  EXPECT_FALSE(none.update(false));
}

}  // namespace
}  // namespace nemo::runtime_test

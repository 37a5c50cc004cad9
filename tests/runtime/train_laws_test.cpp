// Laws of the compiled step that hold for any model: recompute, accumulation and precision do not change the mathematics; memory is what
// was planned.
#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

using passes::Purpose;
using runtime::Role;

std::string recipe(const std::string& model, int64_t micro, const std::string& more, const std::string& trainer) {
  return "[model]\n" + model +
         "vocab_size = 61\nmax_position_embeddings = 24\nnum_layers = 3\nhidden_size = 32\nnum_attention_heads = 4\n[data]\nplugin = "
         "\"mock\"\nseq_length = 24\nmicro_batch_size = " +
         std::to_string(micro) + "\nglobal_batch_size = 4\n[trainer]\naccelerator = \"cpu\"\n" + trainer + "[log]\nloggers = []\n" + more;
}

const std::string kGpt = "plugin = \"gpt\"\n", kLlama = "plugin = \"llama\"\nnum_query_groups = 2\nffn_hidden_size = 80\n";

runtime::Batch random_batch(int64_t samples, int64_t first = 0) {
  std::vector<int32_t> tokens, labels;
  for (int64_t i = first * 24; i < (first + samples) * 24; ++i) {
    tokens.push_back(static_cast<int32_t>((i * 7919 + i / 5) % 61));
    labels.push_back(i % 11 == 3 ? -100 : static_cast<int32_t>((i * 104729 + 3) % 61));
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

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) difference += std::pow(double{a[i]} - b[i], 2), size += std::pow(double{b[i]}, 2);
  return std::sqrt(difference / size);
}

class TrainLaw : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Session> session(int64_t micro, const std::string& more = "", const std::string& trainer = "") {
    auto s = std::make_unique<Session>(plugins, recipe(GetParam(), micro, more, trainer),
                                       std::set<Purpose>{Purpose::kTrain, Purpose::kEvaluate});
    s->engine->state().initialize(11);
    return s;
  }
  Plugins plugins;
};

TEST_P(TrainLaw, recompute_gives_the_same_bits_with_less_memory) {
  const auto none = session(4);
  const double loss = none->loss(Purpose::kTrain, random_batch(4));
  const auto gradients = all_gradients(*none);
  int64_t last = none->engine->compiled(Purpose::kTrain).memory.arena_bytes;
  for (const char* policy : {"selective", "full"}) {
    const auto s = session(4, "", std::string("recompute = \"") + policy + "\"\n");
    EXPECT_EQ(s->loss(Purpose::kTrain, random_batch(4)), loss) << policy;
    EXPECT_EQ(all_gradients(*s), gradients) << policy;
    const int64_t arena = s->engine->compiled(Purpose::kTrain).memory.arena_bytes;
    EXPECT_LT(arena, last) << policy;
    last = arena;
  }
}

TEST_P(TrainLaw, four_micro_batches_of_one_equal_one_of_four) {
  const auto whole = session(4), parts = session(1);
  const double loss = whole->loss(Purpose::kTrain, random_batch(4));
  double sum = 0;
  int64_t tokens = 0;
  for (int64_t m = 0; m < 4; ++m) {
    const runtime::Batch batch = random_batch(1, m);
    sum += parts->loss(Purpose::kTrain, batch, m == 0 ? runtime::Gradients::kOverwrite : runtime::Gradients::kAccumulate) *
           static_cast<double>(batch.unmasked_tokens);
    tokens += batch.unmasked_tokens;
  }
  EXPECT_NEAR(sum / static_cast<double>(tokens), loss, 1e-6 * loss);
  EXPECT_LT(relative_difference(all_gradients(*parts), all_gradients(*whole)), 1e-6);
}

TEST_P(TrainLaw, overwriting_forgets_earlier_gradients) {
  const auto s = session(4);
  s->loss(Purpose::kTrain, random_batch(4));
  const auto fresh = all_gradients(*s);
  s->loss(Purpose::kTrain, random_batch(4, 5), runtime::Gradients::kAccumulate);
  s->loss(Purpose::kTrain, random_batch(4), runtime::Gradients::kOverwrite);
  EXPECT_EQ(all_gradients(*s), fresh);
}

TEST_P(TrainLaw, evaluation_gives_the_training_loss) {
  const auto s = session(4);
  EXPECT_NEAR(s->loss(Purpose::kEvaluate, random_batch(4)), s->loss(Purpose::kTrain, random_batch(4)), 1e-6);
}

TEST_P(TrainLaw, bf16_gradients_point_where_f32_gradients_point) {
  const auto f32 = session(4), bf16 = session(4, "[precision]\nplugin = \"bf16-mixed\"\n");
  EXPECT_NEAR(bf16->loss(Purpose::kTrain, random_batch(4)), f32->loss(Purpose::kTrain, random_batch(4)), 2e-2);
  EXPECT_LT(relative_difference(all_gradients(*bf16), all_gradients(*f32)), 5e-2);
}

// Central differences of the whole compiled program in f64, along random directions in parameter space.
TEST_P(TrainLaw, gradient_matches_central_difference_in_f64) {
  const auto s = session(4, "[precision]\nplugin = \"fp64\"\n");
  const runtime::Batch batch = random_batch(4);
  s->loss(Purpose::kTrain, batch);
  runtime::State& state = s->engine->state();
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  for (size_t p = 0; p < state.parameters().size(); ++p) {
    const auto n = static_cast<size_t>(state.bytes(Role::kParameter, p)) / sizeof(double);
    auto* values = reinterpret_cast<double*>(state.address(Role::kParameter, p));
    auto* gradient = reinterpret_cast<double*>(state.address(Role::kGradient, p));
    std::vector<double> direction(n), start(values, values + n);
    double slope = 0, size = 0;
    for (size_t i = 0; i < n; ++i) direction[i] = normal(random), slope += direction[i] * gradient[i], size += gradient[i] * gradient[i];
    const double h = 1e-5;
    double f[2];
    for (int side = 0; side < 2; ++side) {
      for (size_t i = 0; i < n; ++i) values[i] = start[i] + (side == 0 ? h : -h) * direction[i];
      f[side] = s->loss(Purpose::kEvaluate, batch) * static_cast<double>(batch.unmasked_tokens);
    }
    std::copy(start.begin(), start.end(), values);
    const double rounding = 8 * std::numeric_limits<double>::epsilon() * std::abs(f[0]) / h;  // of the two sums, seen through the division
    EXPECT_NEAR((f[0] - f[1]) / (2 * h), slope, 1e-6 * std::max(std::abs(slope), std::sqrt(size)) + rounding) << state.parameters()[p].name;
  }
}

INSTANTIATE_TEST_SUITE_P(, TrainLaw, ::testing::Values(kGpt, kLlama),
                         [](const auto& info) { return info.param == kGpt ? "gpt" : "llama"; });

}  // namespace
}  // namespace nemo::runtime_test

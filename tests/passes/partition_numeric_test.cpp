// N ranks against one: loss and every gradient, on numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/passes/partition_models.hpp"
#include "tests/passes/partition_world.hpp"

namespace nemo::passes {
namespace {

using testing::gpt;
using testing::llama;
using testing::ModelSize;
using testing::Numbers;
using testing::Outcome;
using testing::run_world;

struct Case {
  const char* name;
  graph::Graph (*model)(const ModelSize&);
  Plan plan;
  ModelSize size = {};
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

Numbers random_numbers(const graph::Graph& model, const ModelSize& size) {
  std::mt19937 rng(7);
  std::normal_distribution<double> normal(0, 0.5);
  Numbers numbers;
  for (const graph::Parameter& p : model.parameters)
    for (int64_t i = 0; i < graph::element_count(p.dims); ++i) numbers[p.name].push_back(normal(rng));
  for (int64_t i = 0; i < size.batch * size.seq; ++i) {
    numbers["tokens"].push_back(static_cast<double>(rng() % static_cast<uint64_t>(size.vocab)));
    numbers["labels"].push_back(i % 5 == 4 ? -100 : static_cast<double>(rng() % static_cast<uint64_t>(size.vocab)));
    numbers["positions"].push_back(static_cast<double>(i % size.seq));
  }
  return numbers;
}

double largest(const std::vector<double>& xs) {
  double most = 0;
  for (const double x : xs) most = std::max(most, std::abs(x));
  return most;
}

class PartitionNumeric : public ::testing::TestWithParam<Case> {};

TEST_P(PartitionNumeric, ranks_together_get_loss_and_gradients_of_one_rank) {
  const graph::Graph model = GetParam().model(GetParam().size);
  const Numbers numbers = random_numbers(model, GetParam().size);
  const Outcome one = run_world(model, {}, numbers, {});
  const Outcome many = run_world(model, GetParam().plan, numbers, one.gradients[0]);
  for (size_t r = 0; r < many.loss.size(); ++r) {
    EXPECT_NEAR(many.loss[r], one.loss[0], 1e-9) << "rank " << r;
    for (const auto& [name, expected] : many.whole_cut[r]) {
      if (name.ends_with("weight")) {
        ASSERT_GT(largest(one.gradients[0].at(name)), 1e-3) << name;
      }
      const std::vector<double>& actual = many.gradients[r].at(name);
      ASSERT_EQ(actual.size(), expected.size()) << name;
      for (size_t e = 0; e < expected.size(); ++e) ASSERT_NEAR(actual[e], expected[e], 1e-9) << name << "[" << e << "] of rank " << r;
    }
  }
}

// One bias read by a row-parallel linear, where its gradient is partial, and by a norm, where it is complete.
graph::Graph gpt_with_shared_bias(const ModelSize& size) {
  graph::Graph model = gpt(size);
  const auto find = [&](const std::string& name) {
    return std::find_if(model.parameters.begin(), model.parameters.end(), [&](const graph::Parameter& p) { return p.name == name; })->value;
  };
  const graph::ValueId own = find("final_norm.bias"), shared = find("layers.0.mlp.down.bias");
  for (graph::Op& op : model.ops) std::replace(op.inputs.begin(), op.inputs.end(), own, shared);
  return model;
}

// A plan that leaves the vocabulary whole, so that tokens are sliced under sequence parallelism.
Plan without_vocabulary(Plan plan) {
  std::erase_if(plan.rules, [](const auto& rule) { return rule.first == "vocab"; });
  return plan;
}

// A plan that splits the batch over two mesh axes, parameters over one of them.
Plan hybrid_sharded() { return {{{"dp", 2}, {"fsdp", 2}}, {{"batch", "dp"}, {"batch", "fsdp"}}, "fsdp", ""}; }

// No rule for kv_heads: keys and values are computed on all ranks and sliced at attention.
Plan without_kv_heads(Plan plan) {
  std::erase_if(plan.rules, [](const auto& rule) { return rule.first == "kv_heads"; });
  return plan;
}

INSTANTIATE_TEST_SUITE_P(
    Models, PartitionNumeric,
    ::testing::Values(Case{"gpt_tp2", gpt, testing::tensor_parallel(2)}, Case{"gpt_tp2_sp", gpt, testing::sequence_parallel(2)},
                      Case{"gpt_fsdp4", gpt, testing::fully_sharded(4)}, Case{"gpt_dp2_tp2", gpt, testing::data_and_tensor_parallel(2, 2)},
                      Case{"gpt_fsdp2_tp2_sp", gpt, testing::fully_sharded_sequence_parallel(2, 2)},
                      Case{"llama_tp2", llama, testing::tensor_parallel(2)}, Case{"llama_tp2_sp", llama, testing::sequence_parallel(2)},
                      Case{"llama_fsdp4", llama, testing::fully_sharded(4)},
                      Case{"llama_dp2_tp2", llama, testing::data_and_tensor_parallel(2, 2)},
                      Case{"llama_fsdp2_tp2_sp", llama, testing::fully_sharded_sequence_parallel(2, 2)},
                      Case{"llama_dp2_fsdp2", llama, hybrid_sharded()},
                      Case{"gpt_tp2_sp_whole_vocabulary", gpt, without_vocabulary(testing::sequence_parallel(2))},
                      Case{"llama_tp2_whole_vocabulary", llama, without_vocabulary(testing::tensor_parallel(2))},
                      Case{"llama_tp2_no_kv_heads_rule", llama, without_kv_heads(testing::tensor_parallel(2))},
                      Case{"gpt_tp2_shared_bias", gpt_with_shared_bias, testing::tensor_parallel(2)}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nemo::passes

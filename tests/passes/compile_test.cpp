// The pipeline: passes in order, each observed, each purpose with its own program.
#include "core/passes/compile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/error.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using graph::ValueId;
using testing::count_ops;
using testing::Draft;
using ::testing::HasSubstr;

// Dropout between embedding and head, with logits.
Graph with_dropout() {
  Draft d;
  const ValueId x = d.op("dropout", {d.embedded(), d.builder.input("rng")}, {{"p", 0.5}, {"key", int64_t{1}}});
  const ValueId logits = d.op("linear", {x, d.table()});
  d.builder.output("logits", logits);
  d.builder.output("loss", d.op("sum", {d.op("cross_entropy", {logits, d.builder.input("labels")})}));
  return std::move(d.graph);
}

TEST(Compile, passes_run_in_order_and_each_is_timed_and_observed) {
  CompileOptions options;
  std::vector<std::string> seen;
  options.observe = [&](std::string_view pass, const Graph& g) {
    seen.emplace_back(pass);
    EXPECT_FALSE(g.ops.empty());
  };
  const Compiled compiled = compile(testing::gpt(), Purpose::kTrain, options);
  EXPECT_EQ(seen, pass_names());
  std::vector<std::string> timed;
  for (const PassTime& t : compiled.times) {
    timed.push_back(t.name);
    EXPECT_GE(t.milliseconds, 0);
  }
  EXPECT_EQ(timed, pass_names());
}

TEST(Compile, dropout_is_there_in_training_and_gone_outside) {
  EXPECT_EQ(count_ops(compile(with_dropout(), Purpose::kTrain, {}).graph, "dropout"), 2) << "forward and backward";
  for (const Purpose purpose : {Purpose::kEvaluate, Purpose::kLogits}) {
    const Compiled compiled = compile(with_dropout(), purpose, {});
    EXPECT_EQ(count_ops(compiled.graph, "dropout"), 0);
  }
}

TEST(Compile, dropout_that_an_edit_inserts_is_gone_outside_training_too) {
  CompileOptions options;
  options.edit = [](Graph& g) {
    const ValueId rng = g.add_input("rng", graph::DType::kI64, {{2, "", {}}});
    graph::Op drop = make_op(g, {"dropout", {g.ops[0].outputs[0], rng}, {{"p", 0.1}, {"key", int64_t{3}}}});
    g.ops[1].inputs[0] = drop.outputs[0];
    g.ops.insert(g.ops.begin() + 1, drop);
  };
  const auto model = [] {
    Draft d;
    const ValueId x = d.embedded();
    d.finish(x, d.table());
    return std::move(d.graph);
  };
  EXPECT_EQ(count_ops(compile(model(), Purpose::kTrain, options).graph, "dropout"), 2);
  EXPECT_EQ(count_ops(compile(model(), Purpose::kEvaluate, options).graph, "dropout"), 0);
}

TEST(Compile, each_purpose_keeps_its_outputs) {
  const auto outputs = [](Purpose purpose) {
    std::vector<std::string> names;
    for (const auto& [name, v] : compile(with_dropout(), purpose, {}).graph.outputs) names.push_back(name);
    return names;
  };
  EXPECT_THAT(outputs(Purpose::kTrain), ::testing::ElementsAre("loss"));
  EXPECT_THAT(outputs(Purpose::kEvaluate), ::testing::ElementsAre("loss"));
  EXPECT_THAT(outputs(Purpose::kLogits), ::testing::ElementsAre("logits"));
}

TEST(Compile, only_training_differentiates) {
  for (const Purpose purpose : {Purpose::kTrain, Purpose::kEvaluate, Purpose::kLogits}) {
    bool backward = false;
    for (const graph::Op& op : compile(testing::llama(), purpose, {}).graph.ops) backward |= op.phase == graph::Phase::kBackward;
    EXPECT_EQ(backward, purpose == Purpose::kTrain) << to_string(purpose);
  }
}

TEST(Compile, a_purpose_whose_output_the_model_lacks_is_refused) {
  const auto refusal = [](Purpose purpose, const char* output) {
    Draft d;
    const ValueId logits = d.op("linear", {d.embedded(), d.table()});
    if (std::string_view(output) == "logits")
      d.builder.output("logits", logits);
    else
      d.builder.output("loss", d.op("sum", {d.op("cross_entropy", {logits, d.builder.input("labels")})}));
    try {
      static_cast<void>(compile(std::move(d.graph), purpose, {}));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal(Purpose::kLogits, "loss"), HasSubstr("no output 'logits'"));
  EXPECT_THAT(refusal(Purpose::kEvaluate, "logits"), HasSubstr("no output 'loss'"));
  EXPECT_THAT(refusal(Purpose::kTrain, "logits"), HasSubstr("no output 'loss'"));
}

TEST(Compile, models_compile_under_every_policy) {
  using graph::DType;
  for (const auto recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull})
    for (const DType parameter : {DType::kF32, DType::kBF16})
      for (const DType compute : {DType::kF32, DType::kBF16})
        for (const bool fused : {false, true})
          for (const Graph& model : {testing::gpt(), testing::llama()}) {
            CompileOptions options;
            options.precision = {parameter, compute, DType::kF32, DType::kF32, DType::kF32, nullptr};
            options.recompute = recompute;
            options.supports = [fused](std::string_view) { return fused; };
            EXPECT_NO_THROW(static_cast<void>(compile(model, Purpose::kTrain, options)));
          }
}

// Op counts grow by a constant per block.
TEST(Compile, programs_grow_linearly_with_the_number_of_blocks) {
  for (const auto recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
    const auto ops = [&](int64_t layers) {
      CompileOptions options;
      options.recompute = recompute;
      return compile(testing::llama({.layers = layers}), Purpose::kTrain, options).graph.ops.size();
    };
    EXPECT_EQ(ops(9) - ops(5), 2 * (ops(5) - ops(3)));
  }
}

// What was gathered is kept where that is asked for, and gathered again under full recompute whatever is asked for.
TEST(Compile, gathered_activations_are_kept_or_gathered_again) {
  const auto again = [](bool regather, Recompute recompute) {
    CompileOptions options;
    options.plan = testing::sequence_parallel(2);
    options.recompute = recompute;
    options.regather = regather;
    const Graph g = compile(testing::llama(), Purpose::kTrain, options).graph;
    return std::count_if(g.ops.begin(), g.ops.end(),
                         [](const graph::Op& op) { return op.name() == "all_gather" && op.phase == graph::Phase::kRecompute; });
  };
  for (const auto recompute : {Recompute::kNone, Recompute::kSelective}) {
    EXPECT_GT(again(true, recompute), 0);
    EXPECT_EQ(again(false, recompute), 0);
  }
  EXPECT_EQ(again(false, Recompute::kFull), again(true, Recompute::kFull));
}

}  // namespace
}  // namespace nemo::passes

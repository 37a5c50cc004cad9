// Accumulation adds into gradient buffers, and into nothing else: what merely passes through the arena on its way there is overwritten
// every time.
#include <gtest/gtest.h>

#include "core/graph/builder.hpp"
#include "core/passes/compile.hpp"
#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

using graph::DType;
using graph::ValueId;

// loss = sum(cross_entropy(linear(embedding(tokens, table), head))) on two tokens.
graph::Graph two_tables() {
  graph::Graph graph;
  graph::Builder builder(graph, {.micro_batch_size = 1, .seq_length = 2, .vocab_size = 4, .batch_fields = {}});
  const auto table = [&](std::string_view name) {
    const std::vector<nemo_dim> dims{{4, {"vocab", 5}}, {8, {"embed", 5}}};
    return builder.parameter(
        {sizeof(nemo_parameter), 0, {name.data(), name.size()}, dims.data(), dims.size(), NEMO_INIT_CONSTANT, 0, 0, 0});
  };
  const ValueId x = builder.op("embedding", {builder.input("tokens"), table("table")}, {})[0];
  const ValueId logits = builder.op("linear", {x, table("head")}, {})[0];
  const ValueId loss = builder.op("cross_entropy", {logits, builder.input("labels")}, {})[0];
  builder.output("loss", builder.op("sum", {loss}, {})[0]);
  return graph;
}

// Weights in f32 that ops read as bf16: every gradient reaches its buffer through a cast.
TEST(Accumulate, gradients_of_cast_weights_double_when_the_batch_is_run_twice) {
  Plugins plugins;
  const Session session(plugins,
                        "[model]\nplugin = \"gpt\"\nvocab_size = 16\nmax_position_embeddings = 8\nnum_layers = 1\nhidden_size = 8\n"
                        "num_attention_heads = 2\n[data]\nplugin = \"mock\"\nseq_length = 8\nmicro_batch_size = 1\nglobal_batch_size = 1\n"
                        "[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n",
                        {passes::Purpose::kEvaluate});
  runtime::Device& device = session.engine->device();
  passes::CompileOptions options;
  options.precision = {DType::kF32, DType::kBF16, DType::kF32, DType::kF32, DType::kF32, nullptr};
  const passes::Compiled compiled = passes::compile(two_tables(), passes::Purpose::kTrain, options);
  runtime::Program program(device, compiled);

  const auto elements = static_cast<size_t>(compiled.layout.total);
  std::vector<float> weights(elements), once(elements), twice(elements);
  for (size_t i = 0; i < elements; ++i) weights[i] = static_cast<float>(i % 7) / 8;
  const auto bytes = static_cast<int64_t>(elements * sizeof(float));
  const runtime::Buffer arena = device.allocate(compiled.memory.arena_bytes, "arena"), parameters = device.allocate(bytes, "parameters");
  const runtime::Buffer gradients = device.allocate(bytes, "gradients"), inputs = device.allocate(compiled.memory.input_bytes, "inputs");
  const runtime::Buffer workspace = device.allocate(program.workspace_bytes(), "workspace");
  program.bind({arena.data(), parameters.data(), gradients.data(), inputs.data(), workspace.data()});
  device.copy_in(parameters.data(), weights.data(), bytes);
  const std::vector<int32_t> tokens{1, 3}, labels{2, 0};
  const float one = 1;
  device.copy_in(program.input("tokens"), tokens.data(), 8);
  device.copy_in(program.input("labels"), labels.data(), 8);
  device.copy_in(program.input("loss_scale"), &one, 4);

  program.run(runtime::Gradients::kOverwrite);
  device.copy_out(once.data(), gradients.data(), bytes);
  program.run(runtime::Gradients::kAccumulate);
  device.copy_out(twice.data(), gradients.data(), bytes);
  float largest = 0;
  for (size_t p = 0; p < compiled.layout.offset.size(); ++p)
    for (auto i = static_cast<size_t>(compiled.layout.offset[p]); i < static_cast<size_t>(compiled.layout.offset[p]) + 32; ++i) {
      EXPECT_EQ(twice[i], 2 * once[i]) << compiled.graph.parameters[p].name << " element " << i;
      largest = std::max(largest, std::abs(once[i]));
    }
  EXPECT_GT(largest, 0);
}

}  // namespace
}  // namespace nemo::runtime_test

// tests/passes/partition_models.hpp - small GPT and Llama graphs as the model plugins describe them, and the plans of the usual strategies.
#pragma once

#include <string>

#include "core/graph/graph.hpp"
#include "core/passes/plan.hpp"

namespace nemo::passes::testing {

struct ModelSize {
  int64_t layers = 2, batch = 4, seq = 4, embed = 8, heads = 4, kv_heads = 2, mlp = 16, vocab = 8;
  double label_smoothing = 0;
};

// LayerNorm, learned positions, biases, GELU, tied table.
[[nodiscard]] graph::Graph gpt(const ModelSize& size = {});
// RMSNorm, rotary positions, grouped-query attention, SwiGLU, separate output weight.
[[nodiscard]] graph::Graph llama(const ModelSize& size = {});

[[nodiscard]] Plan tensor_parallel(int64_t size);
[[nodiscard]] Plan sequence_parallel(int64_t size);
[[nodiscard]] Plan fully_sharded(int64_t size);
[[nodiscard]] Plan data_parallel(int64_t size);
[[nodiscard]] Plan data_and_tensor_parallel(int64_t data, int64_t tensor);
// fsdp x tp with sequence parallelism: everything at once.
[[nodiscard]] Plan fully_sharded_sequence_parallel(int64_t fsdp, int64_t tensor);

}  // namespace nemo::passes::testing

// Generation's rewrite of convolutions and scans.
#include <gmock/gmock.h>

#include "core/graph/builder.hpp"
#include "core/passes/cache.hpp"

namespace nemo::passes {
namespace {

using graph::Attrs;
using graph::Dims;
using graph::DType;
using graph::Graph;
using graph::Op;
using graph::ValueId;

constexpr int64_t kBatch = 2, kSeq = 8;

// A convolution and a scan over inputs; with a state of the model's own where `initial`, and its last state as an output where `reads`.
Graph state_space(bool initial = false, bool reads = false) {
  Graph graph;
  graph::Builder b(graph, {kBatch, kSeq, 32, {}});
  const auto input = [&](const char* name, Dims behind, bool tokens = true) {
    Dims dims;
    if (tokens) dims = {{kBatch, "batch", {}}, {kSeq, "seq", {}}};
    dims.insert(dims.end(), behind.begin(), behind.end());
    return graph.add_input(name, DType::kF32, dims);
  };
  const graph::Dim heads{4, "heads", {}}, wide{6, "head_dim", {}}, groups{2, "kv_heads", {}}, state{5, "state", {}};
  const ValueId x = input("x", {heads, wide});
  b.scope_push("layers.0");
  const ValueId u = b.op("causal_conv1d", {x, input("w", {heads, wide, {3, "", {}}}, false)}, {})[0];
  const ValueId first = initial ? input("first", {{kBatch, "batch", {}}, heads, wide, state}, false) : 0;
  const auto y = b.op(
      "ssd_scan",
      {u, input("dt", {heads}), input("a_log", {heads}, false), input("bm", {groups, state}), input("c", {groups, state}), 0, 0, first},
      {});
  b.output("logits", y[0]);
  if (reads) b.output("last", b.op("sum", {y[1]}, {})[0]);
  return graph;
}

const Op& named(const Graph& graph, std::string_view name) {
  for (const Op& op : graph.ops)
    if (op.name() == name) return op;
  throw std::runtime_error("no op " + std::string(name));
}

TEST(Cache, gives_convolutions_a_window_and_scans_a_state_that_all_programs_share) {
  Graph prefill = state_space(), decode = state_space();
  ASSERT_EQ(why_not_cached(prefill), "");
  cache(prefill, {4, 100});
  cache(decode, {1, 100});
  for (const Graph* graph : {&prefill, &decode}) {
    graph::verify(*graph, "cache");
    EXPECT_TRUE(has_running_state(*graph));
    const Op &conv = named(*graph, "causal_conv1d_cached"), &scan = named(*graph, "ssd_scan_cached");
    for (const Op* op : {&conv, &scan}) {
      EXPECT_EQ(op->inputs[op->inputs.size() - 2], graph->find_input("cache_start"));
      EXPECT_EQ(op->inputs.back(), graph->find_input("cache_count"));
      EXPECT_EQ(op->scope, "layers.0");
    }
    EXPECT_EQ(conv.outputs[1], graph->find_state("cache.0.window"));
    EXPECT_EQ(graph->value(conv.outputs[1]).dims, (Dims{{kBatch, "batch", {}}, {2, "", {}}, {4, "heads", {}}, {6, "head_dim", {}}}));
    EXPECT_EQ(scan.outputs[1], graph->find_state("cache.1.state"));
    EXPECT_EQ(graph->value(scan.outputs[0]).dims[1].size, graph == &prefill ? 4 : 1);
  }
}

TEST(Cache, names_the_scan_whose_state_is_the_model_s_business) {
  EXPECT_THAT(why_not_cached(state_space(true)), testing::HasSubstr("layers.0: its scan begins with a state"));
  EXPECT_THAT(why_not_cached(state_space(false, true)), testing::HasSubstr("layers.0: the state behind its scan"));
  Graph graph = state_space(true);
  EXPECT_THROW(cache(graph, {1, 100}), std::exception);
}

}  // namespace
}  // namespace nemo::passes

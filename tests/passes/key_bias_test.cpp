// Gradients of key biases are known to be 0 where nothing stands between the linear and a plain softmax.
#include "core/passes/key_bias.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/passes/differentiate.hpp"
#include "core/passes/group.hpp"
#include "tests/passes/draft.hpp"

namespace nemo::passes {
namespace {

using graph::Attrs;
using graph::Graph;
using graph::Op;
using graph::ValueId;
using testing::Draft;

struct Shape {
  Attrs attrs{};
  bool turned = false, sinks = false, grouped = true;
};

// q, k and v with biases, 2 heads of 4 for q and 1 for k and v, attention, o.
Graph attention(const Shape& shape) {
  Draft d;
  const ValueId x = d.embedded();
  const auto project = [&](const std::string& name, const char* axis, int64_t heads) {
    const ValueId w = d.weight(name + ".weight", {{heads, axis, {}}, {4, "head_dim", {}}, {8, "embed", {}}});
    return d.op("linear", {x, w, d.weight(name + ".bias", {{heads, axis, {}}, {4, "head_dim", {}}}, testing::Use::kNoDecay)});
  };
  const ValueId q = project("q", "heads", 2);
  ValueId k = project("k", "kv_heads", 1);
  const ValueId v = project("v", "kv_heads", 1);
  if (shape.turned) k = d.op("rope", {k, d.builder.input("positions")}, {{"inv_freq", std::vector<double>{1, 0.1}}});
  std::vector<ValueId> inputs{q, k, v};
  if (shape.sinks) inputs.insert(inputs.end(), {0, d.weight("sinks", {{2, "heads", {}}})});
  Attrs attrs = shape.attrs;
  attrs["scale"] = 0.5;
  const ValueId o = d.op("attention", inputs, attrs);
  const ValueId w = d.weight("o.weight", {{8, "embed", {}}, {2, "heads", {}}, {4, "head_dim", {}}});
  const ValueId branch = d.op("linear", {o, w}, {{"contract", int64_t{2}}});
  d.finish(d.op("add", {x, branch}), d.table());
  if (shape.grouped) group(d.graph);
  differentiate(d.graph, Recompute::kNone);
  skip_key_bias_gradients(d.graph);
  return std::move(d.graph);
}

// Of each bias_grad: [start, length] of the zeros.
std::vector<std::pair<int64_t, int64_t>> zeros(const Graph& graph) {
  std::vector<std::pair<int64_t, int64_t>> found;
  for (const Op& op : graph.ops)
    if (op.name() == "bias_grad") found.emplace_back(op.int_attr("zero_start"), op.int_attr("zero_length"));
  return found;
}
using Zeros = std::vector<std::pair<int64_t, int64_t>>;

TEST(KeyBias, is_left_out_of_the_sum_of_its_group) {
  const Graph g = attention({});
  EXPECT_EQ(zeros(g), (Zeros{{8, 4}}));  // of q 8, k 4, v 4
  EXPECT_NO_THROW(graph::verify(g, "fuse"));
}

TEST(KeyBias, alone_is_zero_as_a_whole) {
  Zeros found = zeros(attention({.grouped = false}));
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, (Zeros{{0, 0}, {0, 0}, {0, 4}}));
}

TEST(KeyBias, is_left_out_under_windows_and_alibi) {
  for (const Attrs& attrs : {Attrs{{"window", int64_t{2}}}, Attrs{{"alibi", int64_t{2}}}, Attrs{{"causal", int64_t{0}}}})
    EXPECT_EQ(zeros(attention({.attrs = attrs})), (Zeros{{8, 4}}));
}

TEST(KeyBias, is_summed_where_keys_are_turned_scores_are_capped_or_sinks_stand_beside) {
  EXPECT_EQ(zeros(attention({.turned = true})), (Zeros{{0, 0}}));
  EXPECT_EQ(zeros(attention({.sinks = true})), (Zeros{{0, 0}}));
  EXPECT_EQ(zeros(attention({.attrs = {{"softcap", 30.0}}})), (Zeros{{0, 0}}));
}

}  // namespace
}  // namespace nemo::passes

#include "tests/passes/draft.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace nemo::passes::testing {

using graph::Attrs;
using graph::Dims;
using graph::Graph;
using graph::ValueId;

ValueId Draft::weight(const std::string& name, const Dims& dims, Use use) {
  std::vector<nemo_dim> raw;
  for (const graph::Dim& d : dims) raw.push_back({d.size, {d.axis.data(), d.axis.size()}});
  const uint32_t flags = use == Use::kFrozen ? NEMO_PARAMETER_FROZEN : use == Use::kNoDecay ? NEMO_PARAMETER_NO_DECAY : 0u;
  return builder.parameter(
      {sizeof(nemo_parameter), flags, {name.data(), name.size()}, raw.data(), raw.size(), NEMO_INIT_NORMAL, 0, 0, 0.02});
}

ValueId Draft::op(std::string_view name, std::vector<ValueId> inputs, Attrs attrs) {
  return builder.op(name, std::move(inputs), std::move(attrs))[0];
}

ValueId Draft::embedded() {
  table_ = weight("table", {{16, "vocab", {}}, {8, "embed", {}}});
  return op("embedding", {builder.input("tokens"), table_});
}

ValueId Draft::linear(ValueId x, const std::string& name, graph::Dim out, Use use) {
  return op("linear", {x, weight(name + ".weight", {std::move(out), builder.describe(x).back()}, use)});
}

ValueId Draft::biased(ValueId x, const std::string& name, graph::Dim out) {
  const ValueId w = weight(name + ".weight", {out, builder.describe(x).back()});
  return op("linear", {x, w, weight(name + ".bias", {std::move(out)}, Use::kNoDecay)});
}

void Draft::finish(ValueId x, ValueId table) {
  const ValueId logits = op("linear", {x, table});
  builder.output("loss", op("sum", {op("cross_entropy", {logits, builder.input("labels")})}));
}

void expect_golden(const std::string& name, Graph graph, const std::function<void(Graph&)>& pass) {
  std::string text = graph::print(graph) + "----\n";
  pass(graph);
  ASSERT_NO_THROW(graph::verify(graph, name));
  text += graph::print(graph);
  const std::string path = std::string(NEMO_SOURCE_DIR) + "/tests/passes/golden/" + name + ".txt";
  if (std::getenv("NEMO_REWRITE_GOLDENS") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  ASSERT_TRUE(file) << path << " is missing; NEMO_REWRITE_GOLDENS=1 writes it";
  std::stringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(text, expected.str());
}

std::vector<std::string> op_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const graph::Op& op : graph.ops) names.emplace_back(op.name());
  return names;
}

int64_t count_ops(const Graph& graph, std::string_view name) {
  return std::count_if(graph.ops.begin(), graph.ops.end(), [&](const graph::Op& op) { return op.name() == name; });
}

}  // namespace nemo::passes::testing

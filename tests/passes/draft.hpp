// tests/passes/draft.hpp - writes small graphs for pass tests through graph::Builder, and compares passes with reviewed texts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/graph/builder.hpp"

namespace nemo::passes::testing {

enum class Use { kTrained, kFrozen, kNoDecay };

// Batch 2, seq 4, vocabulary 16, embed 8 unless told otherwise.
class Draft {
 public:
  graph::Graph graph;
  graph::Builder builder{graph, {.micro_batch_size = 2, .seq_length = 4, .vocab_size = 16, .batch_fields = {}}};

  graph::ValueId weight(const std::string& name, const graph::Dims& dims, Use use = Use::kTrained);
  graph::ValueId vector(const std::string& name, Use use = Use::kTrained) { return weight(name, {{8, "embed", {}}}, use); }
  graph::ValueId op(std::string_view name, std::vector<graph::ValueId> inputs, graph::Attrs attrs = {});
  // tokens through a table "table"
  graph::ValueId embedded();
  // Bias-free or biased projection of x to `size` of `axis`, parameters NAME.weight and NAME.bias.
  graph::ValueId linear(graph::ValueId x, const std::string& name, graph::Dim out, Use use = Use::kTrained);
  graph::ValueId biased(graph::ValueId x, const std::string& name, graph::Dim out);
  // Projects x to the vocabulary with `table` and names "loss".
  void finish(graph::ValueId x, graph::ValueId table);
  [[nodiscard]] graph::ValueId table() const { return table_; }

 private:
  graph::ValueId table_ = 0;
};

// Runs `pass` on the graph, verifies it, and compares "before ---- after" with golden/NAME.txt. NEMO_REWRITE_GOLDENS=1 writes the file.
void expect_golden(const std::string& name, graph::Graph graph, const std::function<void(graph::Graph&)>& pass);

// Op names in order.
[[nodiscard]] std::vector<std::string> op_names(const graph::Graph& graph);
[[nodiscard]] int64_t count_ops(const graph::Graph& graph, std::string_view name);

}  // namespace nemo::passes::testing

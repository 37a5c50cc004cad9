#include "core/passes/key_bias.hpp"

#include <optional>

namespace nemo::passes {

using namespace graph;

namespace {

constexpr size_t kSinks = 7;  // input of attention_grad
constexpr size_t kKeys = 1;   // output of attention_grad

bool is_key_gradient(const Graph& graph, const Uses& uses, ValueId v) {
  const int32_t p = v == 0 ? -1 : uses.producer[v];
  if (p < 0) return false;
  const Op& op = graph.ops[p];
  return op.name() == "attention_grad" && op.outputs[kKeys] == v && op.inputs[kSinks] == 0 && op.float_attr("softcap") == 0;
}

struct Columns {
  int64_t start, length;
};

// Where the key gradients stand among the columns of `dy`, whose rows are all dimensions but the last `axes`.
std::optional<Columns> key_columns(const Graph& graph, const Uses& uses, ValueId dy, int64_t axes) {
  const Dims& dims = graph.value(dy).dims;
  const auto row_dims = static_cast<int64_t>(dims.size()) - axes;
  const int64_t rows = element_count(Dims(dims.begin(), dims.begin() + row_dims));
  if (is_key_gradient(graph, uses, dy)) return Columns{0, element_count(dims) / rows};
  const int32_t p = uses.producer[dy];
  if (p < 0 || graph.ops[p].name() != "concat" || axes != 1 || graph.ops[p].int_attr("dim") != row_dims) return std::nullopt;
  int64_t start = 0;
  for (const ValueId piece : graph.ops[p].inputs) {
    if (piece == 0) continue;
    const int64_t length = element_count(graph.value(piece).dims) / rows;
    if (is_key_gradient(graph, uses, piece)) return Columns{start, length};
    start += length;
  }
  return std::nullopt;
}

}  // namespace

void skip_key_bias_gradients(Graph& graph) {
  const Uses uses = analyse_uses(graph);
  for (Op& op : graph.ops) {
    if (op.name() != "bias_grad") continue;
    const auto keys = key_columns(graph, uses, op.inputs[0], op.int_attr("axes"));
    if (!keys) continue;
    op.attrs["zero_start"] = keys->start;
    op.attrs["zero_length"] = keys->length;
  }
}

}  // namespace nemo::passes

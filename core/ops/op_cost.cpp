#include <algorithm>

#include "core/ops/cost.hpp"

namespace nemo::ops {
namespace {

using graph::Graph;
using graph::Op;
using graph::ValueId;

double elements(const Graph& g, ValueId v) { return v == 0 ? 0 : static_cast<double>(element_count(g.value(v).dims)); }
double bytes(const Graph& g, ValueId v) { return v == 0 ? 0 : elements(g, v) * static_cast<double>(size_of(g.value(v).dtype)); }

// 2 multiply-adds per pair of elements of an operand that share the contracted dimensions: in all 2 |x| |w| / k.
double product_flops(const Graph& g, const Op& op) {
  if (op.name() == "linear_dgrad_fp8") {  // wt [*k *n]
    const graph::Dims& wt = g.value(op.inputs[1]).dims;
    double k = 1;
    for (int64_t d = 0; d < op.int_attr("contract"); ++d) k *= static_cast<double>(wt[static_cast<size_t>(d)].size);
    return 2 * elements(g, op.outputs[0]) * elements(g, op.inputs[1]) / k;
  }
  const bool wgrad = op.name().starts_with("linear_wgrad");
  const ValueId w = wgrad ? op.outputs[0] : op.inputs[1];
  const graph::Dims& dims = g.value(w).dims;
  double k = 1;
  for (int64_t d = 0; d < op.int_attr("contract"); ++d) k *= static_cast<double>(dims[dims.size() - 1 - static_cast<size_t>(d)].size);
  const double n = elements(g, w) / k;
  const bool from_x = op.name() == "linear" || op.name() == "linear_activation" || op.name() == "linear_fp8";
  const double rows = elements(g, op.inputs[0]) / (from_x ? k : n);
  return 2 * rows * n * k;
}

double attention_flops(const Graph& g, const Op& op, size_t q, double factor) {
  const graph::Dims &query = g.value(op.inputs[q]).dims, &key = g.value(op.inputs[q + 1]).dims, &value = g.value(op.inputs[q + 2]).dims;
  const auto s = static_cast<double>(query[1].size), t = static_cast<double>(key[1].size),
             window = static_cast<double>(op.int_attr("window"));
  double seen = op.int_attr("causal") != 0 ? s * (t - s / 2) : s * t;
  if (window > 0) seen = std::min(seen, s * window);
  return factor * 2 * static_cast<double>(query[0].size * query[2].size) * seen * static_cast<double>(query[3].size + value[3].size);
}

double flops_of(const Graph& g, const Op& op) {
  const std::string_view name = op.name();
  if (name == "attention") return attention_flops(g, op, 0, 1);
  if (name == "attention_grad") return attention_flops(g, op, 1, 2.5);
  if (name.starts_with("linear_cross_entropy"))
    return (name.ends_with("_train") ? 6 : 2) * elements(g, op.inputs[0]) * static_cast<double>(g.value(op.inputs[1]).dims[0].size);
  if (name.starts_with("linear") && op.row->attribute("contract") != nullptr) return product_flops(g, op);
  return 0;
}

}  // namespace

Cost cost(const Graph& g, const Op& op, bool accumulates) {
  Cost c{flops_of(g, op), 0};
  for (const ValueId v : op.inputs) c.bytes += bytes(g, v);
  for (const ValueId v : op.outputs)
    c.bytes += bytes(g, v) * (accumulates && v != 0 && g.value(v).kind == graph::ValueKind::kGradient ? 2 : 1);
  if (op.name() == "bias_grad")  // of what is known to be 0 nothing is read
    c.bytes -= bytes(g, op.inputs[0]) * static_cast<double>(op.int_attr("zero_length")) / elements(g, op.outputs[0]);
  if (op.name() == "embedding") c.bytes = bytes(g, op.inputs[0]) + 2 * bytes(g, op.outputs[0]);
  if (op.name() == "embedding_grad" && accumulates)
    c.bytes = bytes(g, op.inputs[0]) + bytes(g, op.inputs[1]) +
              2 * elements(g, op.inputs[0]) * static_cast<double>(size_of(g.value(op.outputs[0]).dtype));
  return c;
}

}  // namespace nemo::ops

#include "core/ops/cost.hpp"

namespace nemo::ops {

double model_flops(const graph::Graph& forward) {
  double flops = 0;
  for (const graph::Op& op : forward.ops) {
    const auto elements = [&](size_t i) { return static_cast<double>(element_count(forward.value(op.inputs[i]).dims)); };
    if (op.name() == "linear") {
      const graph::Dims& w = forward.value(op.inputs[1]).dims;
      double k = 1;
      for (int64_t d = 0; d < op.int_attr("contract"); ++d) k *= static_cast<double>(w[w.size() - 1 - static_cast<size_t>(d)].size);
      flops += 6.0 * elements(0) / k * elements(1);
    } else if (op.name() == "grouped_linear") {
      const graph::Dims& w = forward.value(op.inputs[2]).dims;
      double k = static_cast<double>(w[0].size);  // a row meets one expert
      for (int64_t d = 0; d < op.int_attr("contract"); ++d) k *= static_cast<double>(w[w.size() - 1 - static_cast<size_t>(d)].size);
      flops += 6.0 * elements(0) / k * elements(2);
    } else if (op.name() == "attention") {
      const graph::Dims &k = forward.value(op.inputs[1]).dims, &v = forward.value(op.inputs[2]).dims;
      const double head_dims = static_cast<double>(k[3].size + v[3].size) / static_cast<double>(k[3].size);
      flops += 6.0 * elements(0) * static_cast<double>(k[1].size) * head_dims * (op.int_attr("causal") != 0 ? 0.5 : 1.0);
    }
  }
  return flops;
}

}  // namespace nemo::ops

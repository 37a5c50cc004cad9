// core/ops/work.hpp - what one op of a compiled graph asks of a device: products, attention, memory traffic, messages.
//
// From the op's row and dimensions alone. The default is the row's: every tensor is read or written once. Ops that do more say so here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"

namespace nemo::ops {

// One matrix product out[m n] = sum_k of operands in `dtype`.
struct Product {
  double m = 0, n = 0, k = 0;
  graph::DType dtype = graph::DType::kNone;
  double count = 1;   // how often, one after the other
  double groups = 1;  // how often side by side in one launch: m, n, k are those of one
  enum class Kind { kPlain, kGrouped, kGroupedInput, kGroupedWeight } kind = Kind::kPlain;  // of experts: forward, input, weight gradient
};

struct Work {
  double bytes = 0;  // device memory read and written, besides what products keep on chip
  std::vector<Product> products;
  // Attention: floating-point operations of visible pairs, 4 b h d a pair forward and 2.5 times that backward; rates go by head size and
  // keys.
  double attention_flops = 0;
  int64_t head_dim = 0, queries = 0, keys = 0;
  bool backward = false;
  // Collectives over a mesh axis: bytes of the whole (gathered, or to be scattered or reduced) tensor; of exchanges and shifts, of what a
  // rank has.
  std::string mesh;
  double message_bytes = 0;
  int64_t workspace = 0;  // bytes beyond the memory plan, as our GPU kernels take them; an estimate
  [[nodiscard]] bool is_collective() const { return !mesh.empty(); }
};

// Routers are taken to be balanced: every expert gets as many rows as any other.
[[nodiscard]] Work work_of(const graph::Graph& graph, const graph::Op& op);

}  // namespace nemo::ops

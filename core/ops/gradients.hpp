// core/ops/gradients.hpp - the gradient of every op, one rule each, in one table.
//
// A rule sees one forward op whose outputs have gradients, and says what flows to its inputs by emitting further ops. Convention for
// sharded graphs: the gradient of a replicated value is replicated and complete, so all_reduce passes its gradient through and
// copy_to sums it.
#pragma once

#include <string_view>
#include <vector>

#include "core/graph/graph.hpp"

namespace nemo::ops {

// What a rule may use. Implemented by the differentiate pass.
class Backward {
 public:
  virtual ~Backward() = default;
  [[nodiscard]] virtual const graph::Op& op() const = 0;
  [[nodiscard]] virtual const graph::Graph& graph() const = 0;
  // Gradient of output i; 0 if nothing flows into it.
  [[nodiscard]] virtual graph::ValueId dout(size_t i) = 0;
  // Input and output i as the backward region may read them: kept, or computed again where the recompute policy says so.
  [[nodiscard]] virtual graph::ValueId in(size_t i) = 0;
  [[nodiscard]] virtual graph::ValueId out(size_t i) = 0;
  // Whether input i is present and leads to a trainable parameter.
  [[nodiscard]] virtual bool needs(size_t i) const = 0;
  // The gradient buffer of input i if it is a trainable parameter itself, else 0: the output to write into.
  [[nodiscard]] virtual graph::ValueId buffer(size_t i) = 0;
  // Adds a contribution to the gradient of input i. A value that is the parameter's own gradient buffer is already there.
  virtual void give(size_t i, graph::ValueId gradient) = 0;
  // Says that `gradient` is that of the part of input i that the slice op took.
  virtual void give_slice(graph::ValueId gradient) = 0;
  virtual std::vector<graph::ValueId> emit(graph::OpRequest request) = 0;
  // A new value with the dimensions of input i, for results whose shape their row does not tell.
  virtual graph::ValueId result_like(size_t i, graph::DType dtype) = 0;
};

using GradientRule = void (*)(Backward&);

// nullptr: the op's results carry no gradient (row_max, integer ops). Throws nemo::Error for an op that should have a rule and has none.
[[nodiscard]] GradientRule gradient_rule(std::string_view op);

}  // namespace nemo::ops

#include "core/passes/type.hpp"

#include <map>
#include <utility>

#include "core/graph/shape.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

class Typer {
 public:
  Typer(Graph& graph, const Precision& precision) : graph_(graph), precision_(precision) {}

  void run() {
    graph_.gradient_dtype = precision_.gradient;
    for (Parameter& p : graph_.parameters) p.dtype = graph_.value(p.value).dtype = precision_.parameter;
    std::vector<Op> ops = std::exchange(graph_.ops, {});
    for (Op& op : ops) {
      const DType compute = precision_.op_dtype ? precision_.op_dtype(op.name()) : precision_.compute;
      for (size_t i = 0; i < op.inputs.size(); ++i)
        if (op.inputs[i] != 0) op.inputs[i] = fit(op, i, compute);
      for (size_t i = 0; i < op.outputs.size(); ++i)
        if (op.outputs[i] != 0) graph_.value(op.outputs[i]).dtype = output_dtype(graph_, op, i);
      graph_.ops.push_back(std::move(op));
    }
  }

 private:
  ValueId fit(const Op& op, size_t i, DType compute) {
    const ValueId v = op.inputs[i];
    const DType dtype = graph_.value(v).dtype;
    if (op.row->inputs[i].type == TypeRule::kCompute) return cast(op, v, compute);
    if (op.row->inputs[i].type != TypeRule::kAccumulate || dtype == DType::kF32 || dtype == DType::kF64) return v;
    return cast(op, v, compute == DType::kF64 ? DType::kF64 : DType::kF32);
  }

  ValueId cast(const Op& reader, ValueId value, DType dtype) {
    if (graph_.value(value).dtype == dtype) return value;
    ValueId& made = casts_[{value, dtype}];
    if (made == 0) {
      Op op = make_op(graph_, {"cast", {value}, {{"dtype", std::string(to_string(dtype))}}}, reader.scope);
      op.block = reader.block;
      made = op.outputs[0];
      graph_.ops.push_back(std::move(op));
    }
    return made;
  }

  Graph& graph_;
  const Precision& precision_;
  std::map<std::pair<ValueId, DType>, ValueId> casts_;
};

}  // namespace

void type(Graph& graph, const Precision& precision) { Typer(graph, precision).run(); }

}  // namespace nemo::passes

#include "core/base/error.hpp"
#include "core/graph/graph.hpp"
#include "core/graph/shape.hpp"

namespace nemo::graph {
namespace {

class Verifier {
 public:
  Verifier(const Graph& graph, std::string_view pass) : graph_(graph), pass_(pass), ready_(graph.values.size(), false) {
    for (size_t v = 1; v < graph.values.size(); ++v) ready_[v] = graph.values[v].kind != ValueKind::kResult;
  }

  void run() {
    for (const Op& op : graph_.ops) {
      check_op(op);
      for (const ValueId v : op.outputs) ready_.at(v) = true;
    }
    for (const auto& [name, id] : graph_.outputs)
      if (id == 0 || id >= ready_.size() || !ready_[id]) fail("output '" + name + "' is never produced");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Code::kInternal, "graph after pass '" + std::string(pass_) + "': " + what);
  }

  void check_op(const Op& op) const {
    const std::string place = op.scope + ": op '" + op.row->name + "'";
    if (op.inputs.size() != op.row->inputs.size() || op.outputs.size() != op.row->outputs.size())
      fail(place + " has the wrong number of tensors");
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      const ValueId v = op.inputs[i];
      if (v >= graph_.values.size()) fail(place + " reads a value that does not exist");
      if (v == 0 && !op.row->inputs[i].optional) fail(place + ": input '" + op.row->inputs[i].name + "' is missing");
      if (v != 0 && !ready_[v]) fail(place + " reads '" + op.row->inputs[i].name + "' (%" + std::to_string(v) + ") before it is produced");
      check_input_type(op, i, place);
    }
    const Factors factors = bind_factors(graph_, op);
    for (size_t i = 0; i < op.outputs.size(); ++i) check_output(op, i, factors, place);
  }

  void check_input_type(const Op& op, size_t i, const std::string& place) const {
    if (op.inputs[i] == 0) return;
    const DType dtype = graph_.value(op.inputs[i]).dtype, compute = compute_dtype(graph_, op);
    const TypeRule rule = op.row->inputs[i].type;
    const bool wrong = (rule == TypeRule::kI32 && dtype != DType::kI32) || (rule == TypeRule::kI64 && dtype != DType::kI64) ||
                       (rule == TypeRule::kF64 && dtype != DType::kF64) || (rule == TypeRule::kCompute && dtype != compute);
    if (wrong && dtype != DType::kNone && compute != DType::kNone)
      fail(place + ": input '" + op.row->inputs[i].name + "' is " + std::string(to_string(dtype)) + " beside " +
           std::string(to_string(compute)));
    if (rule == TypeRule::kAccumulate && dtype != DType::kNone && dtype != DType::kF32 && dtype != DType::kF64)
      fail(place + ": input '" + op.row->inputs[i].name + "' is " + std::string(to_string(dtype)) + ", accumulation is f32 or f64");
  }

  void check_output(const Op& op, size_t i, const Factors& factors, const std::string& place) const {
    const ValueId v = op.outputs[i];
    const TensorRow& row = op.row->outputs[i];
    if (v == 0) return;
    if (v >= graph_.values.size()) fail(place + " writes a value that does not exist");
    const Value& value = graph_.value(v);
    if (ready_[v] && value.kind == ValueKind::kResult) fail(place + " writes %" + std::to_string(v) + " a second time");
    const DType dtype = row.type == TypeRule::kAny ? value.dtype : output_dtype(graph_, op, i);
    if (dtype != value.dtype && dtype != DType::kNone && value.dtype != DType::kNone)
      fail(place + ": output '" + row.name + "' is " + std::string(to_string(value.dtype)) + ", the row says " +
           std::string(to_string(dtype)));
    std::string missing;
    const Dims expected = dims_of(row, factors, &missing);
    if (missing.empty() && element_count(expected) != element_count(value.dims))
      fail(place + ": output '" + row.name + "' has " + std::to_string(element_count(value.dims)) + " elements, the row says " +
           std::to_string(element_count(expected)));
  }

  const Graph& graph_;
  std::string_view pass_;
  std::vector<bool> ready_;
};

}  // namespace

void verify(const Graph& graph, std::string_view after_pass) { Verifier(graph, after_pass).run(); }

}  // namespace nemo::graph

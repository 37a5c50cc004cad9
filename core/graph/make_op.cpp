#include "core/base/error.hpp"
#include "core/graph/graph.hpp"
#include "core/graph/shape.hpp"

namespace nemo::graph {
namespace {

std::string place(const Op& op) { return (op.scope.empty() ? "" : op.scope + ": ") + "op '" + op.row->name + "'"; }

bool holds(const Attr& value, AttrRow::Type type) {
  switch (type) {
    case AttrRow::Type::kInt:
      return std::holds_alternative<int64_t>(value);
    case AttrRow::Type::kFloat:
      return std::holds_alternative<double>(value);
    case AttrRow::Type::kString:
      return std::holds_alternative<std::string>(value);
    case AttrRow::Type::kFloats:
      return std::holds_alternative<std::vector<double>>(value);
    case AttrRow::Type::kInts:
      return std::holds_alternative<std::vector<int64_t>>(value);
  }
  return false;
}

void check_attributes(const Op& op) {
  for (const auto& [name, value] : op.attrs) {
    const AttrRow* row = op.row->attribute(name);
    if (row == nullptr) throw Error(Code::kInvalidArgument, place(op) + " has no attribute '" + name + "'");
    if (!holds(value, row->type)) throw Error(Code::kInvalidArgument, place(op) + ": attribute '" + name + "' has the wrong type");
  }
  for (const AttrRow& row : op.row->attributes)
    if (row.required && !op.attrs.contains(row.name))
      throw Error(Code::kInvalidArgument, place(op) + " needs attribute '" + row.name + "'");
}

void check_inputs(const Graph& graph, Op& op) {
  const auto& rows = op.row->inputs;
  if (op.inputs.size() > rows.size())
    throw Error(Code::kInvalidArgument,
                place(op) + " takes " + std::to_string(rows.size()) + " inputs, got " + std::to_string(op.inputs.size()));
  op.inputs.resize(rows.size(), 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (op.inputs[i] == 0 && !rows[i].optional)
      throw Error(Code::kInvalidArgument, place(op) + ": input '" + rows[i].name + "' is missing");
    if (op.inputs[i] >= graph.values.size())
      throw Error(Code::kInvalidArgument, place(op) + ": input '" + rows[i].name + "' is no value of this graph");
  }
}

}  // namespace

Op make_op(Graph& graph, OpRequest request, std::string scope) {
  Op op;
  op.row = &op_row(request.name);
  op.inputs = std::move(request.inputs);
  op.attrs = std::move(request.attrs);
  op.scope = std::move(scope);
  check_inputs(graph, op);
  check_attributes(op);
  const Factors factors = bind_factors(graph, op);
  const auto& rows = op.row->outputs;
  request.preset_outputs.resize(rows.size(), 0);
  request.skip_outputs.resize(rows.size(), false);
  for (size_t i = 0; i < rows.size(); ++i) {
    ValueId id = request.preset_outputs[i];
    if (id == 0 && !request.skip_outputs[i]) {
      std::string missing;
      Value value{ValueKind::kResult, "", output_dtype(graph, op, i), dims_of(rows[i], factors, &missing), {}};
      if (!missing.empty())
        throw Error(Code::kInternal,
                    place(op) + ": output '" + rows[i].name + "' needs given dimensions ('" + missing + "' is not on its inputs)");
      id = graph.add_value(std::move(value));
    }
    op.outputs.push_back(id);
  }
  return op;
}

}  // namespace nemo::graph

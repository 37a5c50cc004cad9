#include "core/graph/graph.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "core/base/error.hpp"

namespace nemo::graph {
namespace {

constexpr std::array<std::string_view, 10> kDTypeNames{"none", "f32", "f64", "bf16", "f16", "i32", "i64", "u8", "e4m3", "e5m2"};
constexpr std::array<int64_t, 10> kDTypeSizes{0, 4, 8, 2, 2, 4, 8, 1, 1, 1};

const std::string& default_text(const Op& op, std::string_view name) {
  const AttrRow* row = op.row->attribute(name);
  if (row == nullptr) throw Error(Code::kInternal, "op '" + op.row->name + "' has no attribute '" + std::string(name) + "'");
  return row->default_text;
}

}  // namespace

int64_t size_of(DType dtype) { return kDTypeSizes.at(static_cast<size_t>(dtype)); }
std::string_view to_string(DType dtype) { return kDTypeNames.at(static_cast<size_t>(dtype)); }

DType parse_dtype(std::string_view name) {
  const auto found = std::find(kDTypeNames.begin() + 1, kDTypeNames.end(), name);
  if (found == kDTypeNames.end()) throw Error(Code::kInvalidArgument, "unknown dtype '" + std::string(name) + "'");
  return static_cast<DType>(found - kDTypeNames.begin());
}

int64_t element_count(const Dims& dims) {
  int64_t n = 1;
  for (const Dim& d : dims) n *= d.size;
  return n;
}

int64_t Op::int_attr(std::string_view name) const {
  if (const auto found = attrs.find(name); found != attrs.end()) return std::get<int64_t>(found->second);
  const std::string& text = default_text(*this, name);
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

double Op::float_attr(std::string_view name) const {
  if (const auto found = attrs.find(name); found != attrs.end()) return std::get<double>(found->second);
  const std::string& text = default_text(*this, name);
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string Op::string_attr(std::string_view name) const {
  if (const auto found = attrs.find(name); found != attrs.end()) return std::get<std::string>(found->second);
  return default_text(*this, name);
}

ValueId Graph::add_value(Value value) {
  const auto id = static_cast<ValueId>(values.size());
  if (value.kind == ValueKind::kInput) inputs_.emplace(value.name, id);
  values.push_back(std::move(value));
  return id;
}

ValueId Graph::add_input(std::string name, DType dtype, Dims dims) {
  return add_value({ValueKind::kInput, std::move(name), dtype, std::move(dims), {}});
}

ValueId Graph::add_state(std::string name, DType dtype, Dims dims) {
  if (find_state(name) != 0) throw Error(Code::kInternal, "state '" + name + "' is declared twice");
  return add_value({ValueKind::kState, std::move(name), dtype, std::move(dims), {}});
}

ValueId Graph::add_parameter(Parameter parameter) {
  if (!parameter_names_.insert(parameter.name).second)
    throw Error(Code::kInvalidArgument, "parameter '" + parameter.name + "' is declared twice");
  const auto index = static_cast<uint32_t>(parameters.size());
  parameter.global_dims = parameter.dims;
  parameter.value = add_value({ValueKind::kParameter, parameter.name, parameter.dtype, parameter.dims, {index}});
  parameters.push_back(std::move(parameter));
  return parameters.back().value;
}

ValueId Graph::gradient_of(ValueId parameter) {
  if (const auto found = gradients_.find(parameter); found != gradients_.end()) return found->second;
  Value gradient = value(parameter);
  gradient.kind = ValueKind::kGradient;
  gradient.name = "grad:" + gradient.name;
  gradient.dtype = gradient_dtype;
  return gradients_[parameter] = add_value(std::move(gradient));
}

ValueId Graph::find_input(std::string_view name) const {
  const auto found = inputs_.find(std::string(name));
  return found == inputs_.end() ? 0 : found->second;
}

ValueId Graph::find_state(std::string_view name) const {
  for (size_t i = 1; i < values.size(); ++i)
    if (values[i].kind == ValueKind::kState && values[i].name == name) return static_cast<ValueId>(i);
  return 0;
}

ValueId Graph::find_output(std::string_view name) const {
  for (const auto& [output, id] : outputs)
    if (output == name) return id;
  return 0;
}

Uses analyse_uses(const Graph& graph) {
  Uses uses{std::vector<int32_t>(graph.values.size(), -1), std::vector<std::vector<int32_t>>(graph.values.size())};
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    for (const ValueId v : graph.ops[i].inputs)
      if (v != 0) uses.readers[v].push_back(static_cast<int32_t>(i));
    for (const ValueId v : graph.ops[i].outputs)
      if (v != 0) uses.producer[v] = static_cast<int32_t>(i);
  }
  return uses;
}

void prune(Graph& graph, const std::vector<std::string>& keep) {
  if (!keep.empty())
    std::erase_if(graph.outputs, [&](const auto& o) { return std::find(keep.begin(), keep.end(), o.first) == keep.end(); });
  std::vector<bool> live(graph.values.size(), false);
  for (const auto& [name, id] : graph.outputs) live[id] = true;
  std::vector<Op> kept;
  for (auto op = graph.ops.rbegin(); op != graph.ops.rend(); ++op) {
    const bool needed = std::any_of(op->outputs.begin(), op->outputs.end(), [&](ValueId v) {
      return v != 0 && (live[v] || graph.value(v).kind == ValueKind::kGradient || graph.value(v).kind == ValueKind::kState);
    });
    if (!needed) continue;
    for (const ValueId v : op->inputs) live[v] = true;
    kept.push_back(std::move(*op));
  }
  graph.ops.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
}

}  // namespace nemo::graph

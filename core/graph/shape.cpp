#include "core/graph/shape.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace nemo::graph {
namespace {

std::string place(const Op& op) { return (op.scope.empty() ? "" : op.scope + ": ") + "op '" + op.row->name + "'"; }

std::string shape_text(const Dims& dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); ++i) out += (i ? " " : "") + dims[i].axis + "=" + std::to_string(dims[i].size);
  return out + "]";
}

// A letter that only outputs have: its size is the attribute of its name.
bool is_output_letter(const OpRow& row, std::string_view name) {
  const auto has = [&](const TensorRow& tensor) {
    return std::any_of(tensor.letters.begin(), tensor.letters.end(), [&](const Letter& l) { return !l.group && l.name == name; });
  };
  return std::none_of(row.inputs.begin(), row.inputs.end(), has) && std::any_of(row.outputs.begin(), row.outputs.end(), has);
}

class Binder {
 public:
  Binder(const Graph& graph, const Op& op) : graph_(graph), op_(op) {
    if (op.row->attribute("contract")) length_["k"] = op.int_attr("contract");
    if (op.row->attribute("axes")) length_["n"] = op.int_attr("axes");
    for (const AttrRow& attribute : op.row->attributes)
      if (attribute.type == AttrRow::Type::kInt && is_output_letter(*op.row, attribute.name)) bind_attribute(attribute.name);
  }

  Factors run() {
    std::vector<size_t> pending;
    for (size_t i = 0; i < op_.inputs.size(); ++i)
      if (op_.inputs[i] != 0) pending.push_back(i);
    while (!pending.empty()) {
      const size_t before = pending.size();
      std::erase_if(pending, [&](size_t i) { return bind(i); });
      if (pending.size() == before)
        throw Error(Code::kInvalidArgument, place(op_) + ": the ranks of its inputs do not determine its dimension groups");
    }
    return std::move(factors_);
  }

 private:
  // Length of a letter if known: 1, or the group's.
  [[nodiscard]] int64_t known_length(const Letter& letter) const {
    if (!letter.group) return 1;
    const auto found = length_.find(letter.name);
    return found == length_.end() ? -1 : found->second;
  }

  void bind_attribute(const std::string& name) {
    const int64_t size = op_.int_attr(name);
    if (size <= 0) throw Error(Code::kInvalidArgument, place(op_) + ": attribute '" + name + "' is a size and must be positive");
    factors_[name] = {Dim{size, "", {}}};
  }

  // True once input i is bound; false while two of its groups are unknown.
  bool bind(size_t i) {
    const TensorRow& row = op_.row->inputs[i];
    const Dims& dims = graph_.value(op_.inputs[i]).dims;
    int64_t known = 0;
    const Letter* unknown = nullptr;
    for (const Letter& letter : row.letters) {
      const int64_t n = known_length(letter);
      if (n < 0 && unknown != nullptr) return false;
      if (n < 0)
        unknown = &letter;
      else
        known += n;
    }
    const int64_t rest = static_cast<int64_t>(dims.size()) - known;
    if (rest < 0 || (unknown == nullptr && rest != 0))
      throw Error(Code::kInvalidArgument, place(op_) + ": tensor '" + row.name + "' " + shape_text(dims) + " has " +
                                              std::to_string(dims.size()) + " dimensions, expected " + std::to_string(known));
    if (unknown != nullptr) length_[unknown->name] = rest;
    size_t at = 0;
    for (const Letter& letter : row.letters) {
      const auto n = static_cast<size_t>(known_length(letter));
      bind_letter(row, letter, Dims(dims.begin() + at, dims.begin() + at + n));
      at += n;
    }
    return true;
  }

  void bind_letter(const TensorRow& row, const Letter& letter, Dims dims) {
    const auto [found, fresh] = factors_.try_emplace(letter.name, dims);
    if (fresh) return;
    for (size_t d = 0; d < dims.size(); ++d)
      if (found->second[d].size != dims[d].size)
        throw Error(Code::kInvalidArgument, place(op_) + ": tensor '" + row.name + "' has " + shape_text(dims) + " for '" + letter.name +
                                                "', another input has " + shape_text(found->second));
  }

  const Graph& graph_;
  const Op& op_;
  std::map<std::string, int64_t, std::less<>> length_;
  Factors factors_;
};

DType accumulate_dtype(const Graph& graph, const Op& op) {
  const DType compute = compute_dtype(graph, op);
  if (compute != DType::kNone) return compute == DType::kF64 ? DType::kF64 : DType::kF32;
  for (size_t i = 0; i < op.inputs.size(); ++i)
    if (op.inputs[i] != 0 && op.row->inputs[i].type == TypeRule::kAccumulate) return graph.value(op.inputs[i]).dtype;
  return DType::kNone;
}

DType first_any_dtype(const Graph& graph, const Op& op) {
  if (const auto dtype = op.attrs.find("dtype"); dtype != op.attrs.end()) return parse_dtype(std::get<std::string>(dtype->second));
  for (size_t i = 0; i < op.inputs.size(); ++i)
    if (op.inputs[i] != 0 && op.row->inputs[i].type == TypeRule::kAny) return graph.value(op.inputs[i]).dtype;
  return DType::kNone;
}

}  // namespace

Factors bind_factors(const Graph& graph, const Op& op) { return Binder(graph, op).run(); }

Dims dims_of(const TensorRow& tensor, const Factors& factors, std::string* missing) {
  Dims dims;
  for (const Letter& letter : tensor.letters) {
    const auto found = factors.find(letter.name);
    if (found == factors.end()) {
      if (missing != nullptr && missing->empty()) *missing = letter.name;
      continue;
    }
    dims.insert(dims.end(), found->second.begin(), found->second.end());
  }
  return dims;
}

std::vector<std::string> letters_of(const TensorRow& tensor, const Factors& factors) {
  std::vector<std::string> letters;
  for (const Letter& letter : tensor.letters) {
    const auto found = factors.find(letter.name);
    const size_t n = found == factors.end() ? 1 : found->second.size();
    letters.insert(letters.end(), n, letter.name);
  }
  return letters;
}

DType compute_dtype(const Graph& graph, const Op& op) {
  for (size_t i = 0; i < op.inputs.size(); ++i)
    if (op.inputs[i] != 0 && op.row->inputs[i].type == TypeRule::kCompute) return graph.value(op.inputs[i]).dtype;
  return DType::kNone;
}

DType output_dtype(const Graph& graph, const Op& op, size_t index) {
  switch (op.row->outputs[index].type) {
    case TypeRule::kI32:
      return DType::kI32;
    case TypeRule::kI64:
      return DType::kI64;
    case TypeRule::kF64:
      return DType::kF64;
    case TypeRule::kCompute:
      return compute_dtype(graph, op);
    case TypeRule::kAccumulate:
      return accumulate_dtype(graph, op);
    case TypeRule::kGradient:
      return graph.gradient_dtype;
    case TypeRule::kAny:
      return first_any_dtype(graph, op);
  }
  return DType::kNone;
}

}  // namespace nemo::graph

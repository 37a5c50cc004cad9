#include <charconv>
#include <sstream>

#include "core/graph/graph.hpp"

namespace nemo::graph {
namespace {

std::string reference(const Graph& graph, ValueId id) {
  if (id == 0) return "_";
  const Value& value = graph.value(id);
  return value.name.empty() ? "%" + std::to_string(id) : value.name;
}

std::string number(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

std::string text_of(const Attr& attr) {
  struct {
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const { return number(v); }
    std::string operator()(const std::string& v) const { return v; }
    std::string operator()(const std::vector<double>& v) const { return "[" + std::to_string(v.size()) + " floats]"; }
    std::string operator()(const std::vector<int64_t>& v) const {
      std::string out = "[";
      for (size_t i = 0; i < v.size(); ++i) out += (i ? " " : "") + std::to_string(v[i]);
      return out + "]";
    }
  } visitor;
  return std::visit(visitor, attr);
}

std::string type_of(const Value& value) {
  std::string out = value.dtype == DType::kNone ? "" : std::string(to_string(value.dtype));
  out += '[';
  for (size_t i = 0; i < value.dims.size(); ++i) {
    const Dim& d = value.dims[i];
    out += (i ? ", " : "") + d.axis + (d.axis.empty() ? "" : " ") + std::to_string(d.size);
    for (const std::string& m : d.mesh) out += "/" + m;
  }
  return out + "]";
}

template <class Range, class F>
std::string join(const Range& range, F text) {
  std::string out;
  for (const auto& item : range) out += (out.empty() ? "" : ", ") + text(item);
  return out;
}

}  // namespace

std::string print(const Graph& graph) {
  std::ostringstream out;
  const auto name = [&](ValueId v) { return reference(graph, v); };
  for (const Op& op : graph.ops) {
    out << join(op.outputs, name) << " = " << op.name() << "(" << join(op.inputs, name) << ")";
    if (!op.attrs.empty()) out << " {" << join(op.attrs, [](const auto& a) { return a.first + "=" + text_of(a.second); }) << "}";
    out << " : ";
    bool first = true;
    for (const ValueId v : op.outputs)
      if (v != 0) out << (first ? "" : ", ") << type_of(graph.value(v)), first = false;
    const bool again = op.phase == Phase::kRecompute;
    if (!op.scope.empty() || again) out << "   # " << op.scope << (again && !op.scope.empty() ? " " : "") << (again ? "(recompute)" : "");
    out << "\n";
  }
  for (const auto& [output, id] : graph.outputs) out << "output " << output << " = " << reference(graph, id) << "\n";
  return out.str();
}

}  // namespace nemo::graph

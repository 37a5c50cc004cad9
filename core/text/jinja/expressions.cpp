// How the evaluator computes expressions.
#include <algorithm>
#include <cmath>

#include "core/text/jinja/evaluator.hpp"
#include "core/text/jinja/strings.hpp"

namespace nemo::text::jinja {

Value Evaluator::evaluate(const Expression& e) {
  using Kind = Expression::Kind;
  spend(e.line);
  switch (e.kind) {
    case Kind::kConstant:
      return e.constant;
    case Kind::kName:
      return find(e.text);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
      return evaluate_collection(e);
    case Kind::kAttribute:
      return attribute(evaluate(*e.parts[0]), e.text);
    case Kind::kItem:
      return item(evaluate(*e.parts[0]), evaluate(*e.parts[1]));
    case Kind::kSlice:
      return evaluate_slice(e);
    case Kind::kCall:
      return evaluate_call(e);
    case Kind::kFilter: {
      const Value subject = evaluate(*e.parts[0]);
      return apply_filter(e.text, subject, arguments_of(e));
    }
    case Kind::kTest: {
      const Value subject = evaluate(*e.parts[0]);
      return apply_test(e.text, subject, arguments_of(e)) != e.negated;
    }
    case Kind::kUnary:
      return evaluate_unary(e);
    case Kind::kBinary:
      return evaluate_binary(e);
    case Kind::kLogic:
      return evaluate_logic(e);
    case Kind::kCompare:
      return evaluate_compare(e);
    case Kind::kChoice:
      if (evaluate(*e.parts[0]).truth()) return evaluate(*e.parts[1]);
      if (e.parts[2] != nullptr) return evaluate(*e.parts[2]);
      return Undefined{"the inline if-expression evaluated to false and no else section was defined"};
  }
  return {};
}

Arguments Evaluator::arguments_of(const Expression& e) {
  Arguments a;
  for (size_t i = 1; i < e.parts.size(); ++i) a.values.push_back(evaluate(*e.parts[i]));
  for (const NamedExpression& n : e.named) a.named.emplace_back(n.name, evaluate(*n.value));
  return a;
}

Value Evaluator::evaluate_call(const Expression& e) {
  const Value function = evaluate(*e.parts[0]);
  return call(function, arguments_of(e));
}

Value Evaluator::evaluate_collection(const Expression& e) {
  if (e.kind == Expression::Kind::kDict) {
    Dict d;
    for (size_t i = 0; i + 1 < e.parts.size(); i += 2) {
      Value key = evaluate(*e.parts[i]);
      d.set(std::move(key), evaluate(*e.parts[i + 1]));
    }
    return d;
  }
  List l;
  l.shape = e.kind == Expression::Kind::kTuple ? Shape::kTuple : Shape::kList;
  for (const ExpressionPtr& part : e.parts) l.items.push_back(evaluate(*part));
  return l;
}

Value Evaluator::evaluate_unary(const Expression& e) {
  Value v = evaluate(*e.parts[0]);
  if (e.text == "not") return !v.truth();
  if (v.is_undefined()) throw Fault{v.undefined().message};
  if (!v.is_number()) throw Fault{"bad operand type for unary " + e.text + ": '" + v.type_name() + "'"};
  if (e.text == "+") return v;
  return v.is_float() ? Value(-v.number()) : arithmetic("-", Value(int64_t{0}), v);
}

Value Evaluator::evaluate_binary(const Expression& e) {
  const Value a = evaluate(*e.parts[0]), b = evaluate(*e.parts[1]);
  Value out = arithmetic(e.text, a, b);
  if (out.is_string()) check_size(out.string().size());
  return out;
}

Value Evaluator::evaluate_logic(const Expression& e) {
  Value left = evaluate(*e.parts[0]);
  if (left.truth() == (e.text == "or")) return left;
  return evaluate(*e.parts[1]);
}

namespace {

bool holds(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  const int order = compare(a, b);
  return op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
}

}  // namespace

Value Evaluator::evaluate_compare(const Expression& e) {
  Value left = evaluate(*e.parts[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1]);
    if (!holds(e.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

namespace {

// Indices that Python's slice takes out of n elements.
std::vector<size_t> slice_indices(int64_t n, const Value& begin, const Value& end, const Value& step_value) {
  const int64_t step = step_value.is_none() ? 1 : step_value.to_int("a slice");
  if (step == 0) throw Fault{"slice step cannot be zero"};
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto clamp = [&](const Value& v, int64_t otherwise) {
    if (v.is_none()) return otherwise;
    const int64_t i = v.to_int("a slice");
    return std::clamp(i < 0 ? i + n : i, low, high);
  };
  const int64_t from = clamp(begin, step > 0 ? low : high), to = clamp(end, step > 0 ? high : low);
  std::vector<size_t> out;
  for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
    out.push_back(static_cast<size_t>(i));
    if (step > 0 ? step > n : step < -n) break;
  }
  return out;
}

}  // namespace

Value Evaluator::evaluate_slice(const Expression& e) {
  const Value object = evaluate(*e.parts[0]);
  const auto bound = [&](size_t i) { return e.parts[i] == nullptr ? Value(None{}) : evaluate(*e.parts[i]); };
  const Value begin = bound(1), end = bound(2), step = bound(3);
  if (object.is_undefined()) throw Fault{object.undefined().message};
  if (object.is_string()) {
    const std::vector<std::string> all = characters(object.string());
    std::string out;
    for (const size_t i : slice_indices(static_cast<int64_t>(all.size()), begin, end, step)) out += all[i];
    return out;
  }
  if (!object.is_list()) throw Fault{"'" + object.type_name() + "' object cannot be sliced"};
  List out;
  out.shape = object.list().shape;
  for (const size_t i : slice_indices(object.length(), begin, end, step)) out.items.push_back(object.list().items[i]);
  return out;
}

Value attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) throw Fault{object.undefined().message};
  if (object.is_dict() && object.dict().kind == DictKind::kDict) {
    // Methods come first, as attributes of Python's dict.
    if (Value m = method(object, name); !m.is_undefined()) return m;
  }
  if (object.is_dict()) {
    if (const Value* v = object.dict().find_name(name)) return *v;
    return Undefined{"'dict object' has no attribute '" + name + "'"};
  }
  Value m = method(object, name);
  if (!m.is_undefined()) return m;
  return Undefined{"'" + object.type_name() + " object' has no attribute '" + name + "'"};
}

Value item(const Value& object, const Value& index) {
  if (object.is_undefined()) throw Fault{object.undefined().message};
  if (object.is_dict()) {
    if (const Value* v = object.dict().find(index)) return *v;
    if (index.is_string()) return attribute(object, index.string());
    return Undefined{"'dict object' has no attribute " + index.repr()};
  }
  if (index.is_string()) return attribute(object, index.string());
  if (!index.is_int() && !index.is_bool()) return Undefined{object.type_name() + " object has no element " + index.repr()};
  const Undefined missing{object.type_name() + " object has no element " + index.str()};
  if (!object.is_list() && !object.is_string()) return missing;
  const int64_t n = object.length();
  int64_t i = index.to_int("an index");
  if (i < 0) i += n;
  if (i < 0 || i >= n) return missing;
  return object.is_list() ? object.list().items[static_cast<size_t>(i)] : Value(characters(object.string())[static_cast<size_t>(i)]);
}

}  // namespace nemo::text::jinja

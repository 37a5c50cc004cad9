// The tests of `x is name(...)`.
#include "core/text/jinja/evaluator.hpp"
#include "core/text/jinja/strings.hpp"

namespace nemo::text::jinja {
namespace {

using V = const Value&;
using A = const Arguments&;

V other(A a) {
  if (a.values.empty()) throw Fault{"the test needs an argument"};
  return a.values[0];
}

bool divisible(V v, A a) {
  const int64_t by = other(a).to_int("divisibleby");
  if (by == 0) throw Fault{"integer division or modulo by zero"};
  return by == -1 || v.to_int("divisibleby") % by == 0;
}

struct Named {
  std::string_view name;
  Test run;
};

constexpr Named kTests[] = {
    {"defined", [](V v, A) { return !v.is_undefined(); }},
    {"undefined", [](V v, A) { return v.is_undefined(); }},
    {"none", [](V v, A) { return v.is_none(); }},
    {"string", [](V v, A) { return v.is_string(); }},
    {"mapping", [](V v, A) { return v.is_dict(); }},
    {"sequence", [](V v, A) { return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined(); }},
    {"iterable", [](V v, A) { return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined(); }},
    {"number", [](V v, A) { return v.is_number(); }},
    {"integer", [](V v, A) { return v.is_int(); }},
    {"float", [](V v, A) { return v.is_float(); }},
    {"boolean", [](V v, A) { return v.is_bool(); }},
    {"true", [](V v, A) { return v.is_bool() && v.truth(); }},
    {"false", [](V v, A) { return v.is_bool() && !v.truth(); }},
    {"odd", [](V v, A) { return v.to_int("odd") % 2 != 0; }},
    {"even", [](V v, A) { return v.to_int("even") % 2 == 0; }},
    {"divisibleby", divisible},
    {"callable", [](V v, A) { return v.is_function(); }},
    {"lower", [](V v, A) { return lower(v.str()) == v.str() && upper(v.str()) != v.str(); }},
    {"upper", [](V v, A) { return upper(v.str()) == v.str() && lower(v.str()) != v.str(); }},
    {"sameas", [](V v, A a) { return v.same(other(a)); }},
    {"in", [](V v, A a) { return contains(other(a), v); }},
    {"eq", [](V v, A a) { return equal(v, other(a)); }},
    {"equalto", [](V v, A a) { return equal(v, other(a)); }},
    {"==", [](V v, A a) { return equal(v, other(a)); }},
    {"ne", [](V v, A a) { return !equal(v, other(a)); }},
    {"!=", [](V v, A a) { return !equal(v, other(a)); }},
    {"lt", [](V v, A a) { return compare(v, other(a)) < 0; }},
    {"lessthan", [](V v, A a) { return compare(v, other(a)) < 0; }},
    {"<", [](V v, A a) { return compare(v, other(a)) < 0; }},
    {"le", [](V v, A a) { return compare(v, other(a)) <= 0; }},
    {"<=", [](V v, A a) { return compare(v, other(a)) <= 0; }},
    {"gt", [](V v, A a) { return compare(v, other(a)) > 0; }},
    {"greaterthan", [](V v, A a) { return compare(v, other(a)) > 0; }},
    {">", [](V v, A a) { return compare(v, other(a)) > 0; }},
    {"ge", [](V v, A a) { return compare(v, other(a)) >= 0; }},
    {">=", [](V v, A a) { return compare(v, other(a)) >= 0; }},
};

}  // namespace

Test find_test(const std::string& name) {
  for (const Named& t : kTests)
    if (t.name == name) return t.run;
  return nullptr;
}

}  // namespace nemo::text::jinja

#include "core/text/jinja/evaluator.hpp"

#include <algorithm>

namespace nemo::text::jinja {
namespace {

constexpr int64_t kMostSteps = 2'000'000;

// The scopes that a macro or call block opens end also when a Fault passes.
class Depth {
 public:
  explicit Depth(int& depth) : depth_(depth) {
    if (++depth_ > 2 * kDeepest) {
      --depth_;
      throw Fault{"the template calls itself too deeply"};
    }
  }
  ~Depth() { --depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  int& depth_;
};

}  // namespace

Evaluator::Evaluator(Variables globals) { scopes_.push_back(std::move(globals)); }

std::string Evaluator::render(const Body& body) {
  std::string out;
  run(body, out);
  return out;
}

void Evaluator::spend(int line) {
  line_ = line;
  if (++steps_ > kMostSteps) throw Fault{"the template runs for too long"};
}

void Evaluator::check_size(size_t bytes) const {
  if (bytes > kLongestText) throw Fault{"the template makes a text of more than 64 MiB"};
}

Evaluator::Flow Evaluator::run(const Body& body, std::string& out) {
  for (const Statement& s : body)
    if (const Flow flow = run(s, out); flow != Flow::kNext) return flow;
  return Flow::kNext;
}

Evaluator::Flow Evaluator::run(const Statement& s, std::string& out) {
  using Kind = Statement::Kind;
  spend(s.line);
  check_size(out.size());
  switch (s.kind) {
    case Kind::kText:
      out += s.text;
      break;
    case Kind::kOutput:
      out += evaluate(*s.value).str();
      break;
    case Kind::kChoice:
      return run(evaluate(*s.value).truth() ? s.body : s.otherwise, out);
    case Kind::kLoop:
      run_loop(s, evaluate(*s.value), 0, out);
      break;
    case Kind::kAssign:
      assign(*s.targets[0], evaluate(*s.value));
      break;
    case Kind::kAssignBlock:
    case Kind::kFilter: {
      std::string inner;
      scopes_.emplace_back();
      run(s.body, inner);
      scopes_.pop_back();
      Value value = filtered(s.value, Value(std::move(inner)));
      if (s.kind == Kind::kFilter)
        out += value.str();
      else
        assign(*s.targets[0], value);
      break;
    }
    case Kind::kMacro:
      scopes_.back()[s.text] = make_macro(s);
      break;
    case Kind::kCall:
      run_call(s, out);
      break;
    case Kind::kScope: {
      Variables inner;
      for (const Parameter& p : s.parameters) inner[p.name] = evaluate(*p.otherwise);
      scopes_.push_back(std::move(inner));
      const Flow flow = run(s.body, out);
      scopes_.pop_back();
      return flow;
    }
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

// What the loop goes over: the source without what its condition drops.
std::vector<Value> Evaluator::loop_items(const Statement& s, const Value& source) {
  std::vector<Value> items = source.iterate();
  if (s.condition == nullptr) return items;
  std::vector<Value> kept;
  scopes_.emplace_back();
  for (const Value& v : items) {
    spend(s.line);
    assign(*s.targets[0], v);
    if (evaluate(*s.condition).truth()) kept.push_back(v);
  }
  scopes_.pop_back();
  return kept;
}

Value Evaluator::loop_value(const Statement& s, const std::vector<Value>& items, size_t i, int depth) {
  const auto n = static_cast<int64_t>(items.size()), at = static_cast<int64_t>(i);
  Dict d;
  d.kind = DictKind::kLoop;
  const auto put = [&](const char* name, Value v) { d.items.emplace_back(Value(name), std::move(v)); };
  put("index", at + 1);
  put("index0", at);
  put("revindex", n - at);
  put("revindex0", n - at - 1);
  put("first", at == 0);
  put("last", at + 1 == n);
  put("length", n);
  put("depth", static_cast<int64_t>(depth) + 1);
  put("depth0", static_cast<int64_t>(depth));
  put("previtem", i > 0 ? items[i - 1] : Value(Undefined{"there is no previous item"}));
  put("nextitem", i + 1 < items.size() ? items[i + 1] : Value(Undefined{"there is no next item"}));
  put("cycle", Function([i](Evaluator&, const Arguments& a) {
        if (a.values.empty()) throw Fault{"no items for cycling given"};
        return a.values[i % a.values.size()];
      }));
  if (s.recursive)
    put("__call__", Function([&s, depth](Evaluator& e, const Arguments& a) {
          if (a.values.size() != 1) throw Fault{"loop() takes one argument"};
          std::string inner;
          e.run_loop(s, a.values[0], depth + 1, inner);
          return Value(std::move(inner));
        }));
  return d;
}

void Evaluator::run_loop(const Statement& s, const Value& source, int depth, std::string& out) {
  const Depth deeper(depth_);
  const std::vector<Value> items = loop_items(s, source);
  for (size_t i = 0; i < items.size(); ++i) {
    scopes_.emplace_back();
    scopes_.back()["loop"] = loop_value(s, items, i, depth);
    assign(*s.targets[0], items[i]);
    const Flow flow = run(s.body, out);
    scopes_.pop_back();
    if (flow == Flow::kBreak) break;
  }
  if (!items.empty()) return;
  scopes_.emplace_back();
  run(s.otherwise, out);
  scopes_.pop_back();
}

void Evaluator::assign(const Expression& target, const Value& value) {
  if (target.kind == Expression::Kind::kName) {
    scopes_.back()[target.text] = value;
  } else if (target.kind == Expression::Kind::kAttribute) {
    Value object = find(target.parts[0]->text);
    if (!object.is_dict() || object.dict().kind != DictKind::kNamespace) throw Fault{"cannot assign attribute on non-namespace object"};
    object.dict().set(Value(target.text), value);
  } else {
    const std::vector<Value> items = value.iterate();
    if (items.size() != target.parts.size())
      throw Fault{"cannot unpack " + std::to_string(items.size()) + " values into " + std::to_string(target.parts.size()) + " names"};
    for (size_t i = 0; i < items.size(); ++i) assign(*target.parts[i], items[i]);
  }
}

Value Evaluator::make_macro(const Statement& s) {
  return Function([&s](Evaluator& e, const Arguments& a) {
    const Depth deeper(e.depth_);
    if (a.values.size() > s.parameters.size())
      throw Fault{"macro '" + s.text + "' takes not more than " + std::to_string(s.parameters.size()) + " argument(s)"};
    // A macro sees what the template's top level has, not where it is called from.
    std::vector<Variables> scopes{e.scopes_[0], {}};
    scopes.swap(e.scopes_);
    try {
      for (size_t i = 0; i < s.parameters.size(); ++i) {
        const Parameter& p = s.parameters[i];
        const Value* given = a.get(i, p.name);
        Value v = given != nullptr         ? *given
                  : p.otherwise != nullptr ? e.evaluate(*p.otherwise)
                                           : Value(Undefined{"parameter '" + p.name + "' was not provided"});
        e.scopes_.back()[p.name] = std::move(v);
      }
      if (const Value* caller = a.get(SIZE_MAX, "caller")) e.scopes_.back()["caller"] = *caller;
      std::string out;
      e.run(s.body, out);
      scopes.swap(e.scopes_);
      return Value(std::move(out));
    } catch (...) {
      scopes.swap(e.scopes_);
      throw;
    }
  });
}

// {% call f(x) %}body{% endcall %}: f may call caller().
void Evaluator::run_call(const Statement& s, std::string& out) {
  Arguments arguments = arguments_of(*s.value);
  const std::vector<Variables> here = scopes_;
  arguments.named.emplace_back("caller", Value(Function([&s, here](Evaluator& e, const Arguments& a) {
                                 const Depth deeper(e.depth_);
                                 std::vector<Variables> scopes = here;
                                 scopes.emplace_back();
                                 for (size_t i = 0; i < s.parameters.size(); ++i)
                                   if (const Value* v = a.get(i, s.parameters[i].name)) scopes.back()[s.parameters[i].name] = *v;
                                 scopes.swap(e.scopes_);
                                 std::string inner;
                                 e.run(s.body, inner);
                                 scopes.swap(e.scopes_);
                                 return Value(std::move(inner));
                               })));
  out += call(evaluate(*s.value->parts[0]), arguments).str();
}

Value Evaluator::filtered(const ExpressionPtr& filters, Value subject) {
  if (filters == nullptr) return subject;
  Value inner = filtered(filters->parts[0], std::move(subject));
  Arguments a = arguments_of(*filters);
  return apply_filter(filters->text, inner, a);
}

Value Evaluator::find(const std::string& name) const {
  for (size_t i = scopes_.size(); i-- > 0;)
    if (const auto found = scopes_[i].find(name); found != scopes_[i].end()) return found->second;
  return Undefined{"'" + name + "' is undefined"};
}

Value Evaluator::call(const Value& function, const Arguments& arguments) {
  const Depth deeper(depth_);
  if (function.is_undefined()) throw Fault{function.undefined().message};
  if (function.is_dict() && function.dict().kind == DictKind::kLoop)
    if (const Value* recursive = function.dict().find_name("__call__")) return recursive->function()(*this, arguments);
  if (!function.is_function()) throw Fault{"'" + function.type_name() + "' object is not callable"};
  return function.function()(*this, arguments);
}

Value Evaluator::apply_filter(const std::string& name, const Value& subject, const Arguments& arguments) {
  const Filter filter = find_filter(name);
  if (filter == nullptr) throw Fault{"no filter named '" + name + "'"};
  return filter(*this, subject, arguments);
}

bool Evaluator::apply_test(const std::string& name, const Value& subject, const Arguments& arguments) {
  const Test test = find_test(name);
  if (test == nullptr) throw Fault{"no test named '" + name + "'"};
  return test(subject, arguments);
}

}  // namespace nemo::text::jinja

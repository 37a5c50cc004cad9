// core/text/jinja/evaluator.hpp - runs a parsed template.
#pragma once

#include <string>
#include <unordered_map>

#include "core/text/jinja/ast.hpp"

namespace nemo::text::jinja {

// One rendering. Not thread-safe. A template that runs for too long, nests too deeply or writes too much ends with a Fault.
class Evaluator {
 public:
  using Variables = std::unordered_map<std::string, Value>;

  explicit Evaluator(Variables globals);
  // Throws Fault; line() says where.
  std::string render(const Body& body);
  [[nodiscard]] int line() const { return line_; }

  [[nodiscard]] Value evaluate(const Expression& e);
  [[nodiscard]] Value call(const Value& function, const Arguments& arguments);
  [[nodiscard]] Value apply_filter(const std::string& name, const Value& subject, const Arguments& arguments);
  [[nodiscard]] bool apply_test(const std::string& name, const Value& subject, const Arguments& arguments);
  void check_size(size_t bytes) const;

 private:
  enum class Flow { kNext, kBreak, kContinue };
  struct LoopState;

  void spend(int line);
  Flow run(const Body& body, std::string& out);
  Flow run(const Statement& s, std::string& out);
  void run_loop(const Statement& s, const Value& source, int depth, std::string& out);
  [[nodiscard]] std::vector<Value> loop_items(const Statement& s, const Value& source);
  [[nodiscard]] Value loop_value(const Statement& s, const std::vector<Value>& items, size_t i, int depth);
  void run_call(const Statement& s, std::string& out);
  void assign(const Expression& target, const Value& value);
  [[nodiscard]] Value make_macro(const Statement& s);
  [[nodiscard]] Value filtered(const ExpressionPtr& filters, Value subject);
  [[nodiscard]] Value find(const std::string& name) const;
  [[nodiscard]] Arguments arguments_of(const Expression& e);
  [[nodiscard]] Value evaluate_unary(const Expression& e);
  [[nodiscard]] Value evaluate_binary(const Expression& e);
  [[nodiscard]] Value evaluate_logic(const Expression& e);
  [[nodiscard]] Value evaluate_compare(const Expression& e);
  [[nodiscard]] Value evaluate_call(const Expression& e);
  [[nodiscard]] Value evaluate_slice(const Expression& e);
  [[nodiscard]] Value evaluate_collection(const Expression& e);

  std::vector<Variables> scopes_;
  int line_ = 0, depth_ = 0;
  int64_t steps_ = 0;
};

// a OP b for + - * / // % ** ~.
[[nodiscard]] Value arithmetic(const std::string& op, const Value& a, const Value& b);
// x.name: an entry of a dict, or a method.
[[nodiscard]] Value attribute(const Value& object, const std::string& name);
[[nodiscard]] Value item(const Value& object, const Value& index);
// A method of a string, list or dict; undefined where there is none.
[[nodiscard]] Value method(const Value& object, const std::string& name);
// nullptr: no such filter or test.
using Filter = Value (*)(Evaluator&, const Value&, const Arguments&);
[[nodiscard]] Filter find_filter(const std::string& name);
using Test = bool (*)(const Value&, const Arguments&);
[[nodiscard]] Test find_test(const std::string& name);
// printf as Python's % does it.
[[nodiscard]] std::string format_percent(const std::string& format, const std::vector<Value>& values);
// range, namespace, dict, raise_exception, strftime_now.
[[nodiscard]] Evaluator::Variables builtins();

}  // namespace nemo::text::jinja

// core/text/jinja/ast.hpp - a parsed template.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/text/jinja/value.hpp"

namespace nemo::text::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct NamedExpression {
  std::string name;
  ExpressionPtr value;
};

// `parts` by kind: constant: none; name: none (`text`); list, tuple: items; dict: key, value, ...; attribute: object (`text`); item:
// object, index; slice: object, begin, end, step (nullptr: not given); call: function, arguments ...; filter, test: subject, arguments ...
// (`text`); unary, binary, logic: operands (`text`); compare: first, then one for each of `operators`; choice: condition, then, else (or
// nullptr).
struct Expression {
  enum class Kind {
    kConstant,
    kName,
    kList,
    kTuple,
    kDict,
    kAttribute,
    kItem,
    kSlice,
    kCall,
    kFilter,
    kTest,
    kUnary,
    kBinary,
    kLogic,
    kCompare,
    kChoice
  };
  Kind kind;
  int line;
  std::string text;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<NamedExpression> named;
  std::vector<std::string> operators;
  bool negated = false;  // of tests
};

struct Statement;
using Body = std::vector<Statement>;

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  // nullptr: must be given
};

// By kind: text: `text`; output: `value`; choice: `value`, `body`, `otherwise`; loop: `targets` in `value` if `condition`, `body`,
// `otherwise`; assign: `targets` = `value`, or the rendered `body` through the filters of `value` (whose innermost subject is nullptr);
// macro: `text`, `parameters`, `body`; call: `value` is the call, `parameters`, `body`; filter: `value`, `body`; scope: `parameters` with
// values, `body`.
struct Statement {
  enum class Kind { kText, kOutput, kChoice, kLoop, kAssign, kAssignBlock, kMacro, kCall, kFilter, kScope, kBreak, kContinue };
  Kind kind;
  int line;
  std::string text;
  ExpressionPtr value, condition;
  std::vector<ExpressionPtr> targets;  // names, attributes of namespaces, tuples of names
  std::vector<Parameter> parameters;
  Body body, otherwise;
  bool recursive = false;
};

// Throws Error(kDataLoss) with WHERE:line.
[[nodiscard]] Body parse(std::string_view source, std::string_view where);

}  // namespace nemo::text::jinja

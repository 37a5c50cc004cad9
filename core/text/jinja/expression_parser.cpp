#include "core/text/jinja/expression_parser.hpp"

#include <charconv>

#include "core/base/error.hpp"

namespace nemo::text::jinja {

using Kind = Expression::Kind;

void ExpressionParser::fail(const std::string& what) const {
  const Token& t = peek();
  const std::string found = t.kind == TokenKind::kEnd ? "the end of the template"
                            : t.text.empty()          ? "the end of the tag"
                                                      : "'" + t.text + "'";
  throw Error(Code::kDataLoss, std::string(where_) + ":" + std::to_string(t.line) + ": " + what + ", found " + found);
}

bool ExpressionParser::accept_operator(std::string_view text) {
  if (!at_operator(text)) return false;
  take();
  return true;
}
bool ExpressionParser::accept_name(std::string_view text) {
  if (!at_name(text)) return false;
  take();
  return true;
}
void ExpressionParser::expect_operator(std::string_view text) {
  if (!accept_operator(text)) fail("expected '" + std::string(text) + "'");
}
void ExpressionParser::expect_name(std::string_view text) {
  if (!accept_name(text)) fail("expected '" + std::string(text) + "'");
}
std::string ExpressionParser::expect_any_name() {
  if (peek().kind != TokenKind::kName) fail("expected a name");
  return take().text;
}

ExpressionPtr ExpressionParser::make(Kind kind, std::string text) const {
  auto e = std::make_unique<Expression>();
  e->kind = kind;
  e->line = peek().line;
  e->text = std::move(text);
  return e;
}

ExpressionPtr ExpressionParser::binary(Kind kind, std::string op, ExpressionPtr left, ExpressionPtr right) {
  ExpressionPtr e = make(kind, std::move(op));
  e->line = left->line;
  e->parts.push_back(std::move(left));
  e->parts.push_back(std::move(right));
  return e;
}

bool ExpressionParser::ends_tuple() const {
  const TokenKind k = peek().kind;
  return k == TokenKind::kBlockEnd || k == TokenKind::kOutputEnd || k == TokenKind::kEnd || at_operator(")") || at_name("in") ||
         at_name("recursive") || at_operator("=");
}

ExpressionPtr ExpressionParser::parse_tuple() {
  ExpressionPtr first = parse_expression();
  if (!at_operator(",")) return first;
  ExpressionPtr tuple = make(Kind::kTuple);
  tuple->parts.push_back(std::move(first));
  while (accept_operator(","))
    if (!ends_tuple()) tuple->parts.push_back(parse_expression());
  return tuple;
}

ExpressionPtr ExpressionParser::parse_expression() {
  const Nesting nesting(depth_);
  if (depth_ > kDeepest) fail("the template is nested too deeply");
  ExpressionPtr e = parse_or();
  while (accept_name("if")) {
    ExpressionPtr choice = make(Kind::kChoice);
    choice->parts.push_back(parse_or());
    choice->parts.push_back(std::move(e));
    choice->parts.push_back(accept_name("else") ? parse_expression() : nullptr);
    e = std::move(choice);
  }
  return e;
}

ExpressionPtr ExpressionParser::parse_or() {
  ExpressionPtr e = parse_and();
  while (accept_name("or")) e = binary(Kind::kLogic, "or", std::move(e), parse_and());
  return e;
}

ExpressionPtr ExpressionParser::parse_and() {
  ExpressionPtr e = parse_not();
  while (accept_name("and")) e = binary(Kind::kLogic, "and", std::move(e), parse_not());
  return e;
}

ExpressionPtr ExpressionParser::parse_not() {
  if (!at_name("not")) return parse_compare();
  const Nesting nesting(depth_);
  if (depth_ > kDeepest) fail("the template is nested too deeply");
  ExpressionPtr e = make(Kind::kUnary, "not");
  take();
  e->parts.push_back(parse_not());
  return e;
}

ExpressionPtr ExpressionParser::parse_compare() {
  ExpressionPtr first = parse_sum();
  ExpressionPtr e;
  while (true) {
    std::string op;
    for (const std::string_view known : {"==", "!=", "<", "<=", ">", ">="})
      if (at_operator(known)) op = known;
    if (at_name("in")) op = "in";
    const bool not_in = at_name("not") && peek(1).kind == TokenKind::kName && peek(1).text == "in";
    if (not_in) op = "not in";
    if (op.empty()) break;
    take();
    if (not_in) take();
    if (e == nullptr) {
      e = make(Kind::kCompare);
      e->parts.push_back(std::move(first));
    }
    e->operators.push_back(op);
    e->parts.push_back(parse_sum());
  }
  return e != nullptr ? std::move(e) : std::move(first);
}

ExpressionPtr ExpressionParser::parse_sum() {
  ExpressionPtr e = parse_concat();
  while (at_operator("+") || at_operator("-")) {
    std::string op = take().text;
    e = binary(Kind::kBinary, std::move(op), std::move(e), parse_concat());
  }
  return e;
}

ExpressionPtr ExpressionParser::parse_concat() {
  ExpressionPtr e = parse_product();
  while (accept_operator("~")) e = binary(Kind::kBinary, "~", std::move(e), parse_product());
  return e;
}

ExpressionPtr ExpressionParser::parse_product() {
  ExpressionPtr e = parse_power();
  while (at_operator("*") || at_operator("/") || at_operator("//") || at_operator("%")) {
    std::string op = take().text;
    e = binary(Kind::kBinary, std::move(op), std::move(e), parse_power());
  }
  return e;
}

ExpressionPtr ExpressionParser::parse_power() {
  ExpressionPtr e = parse_unary(true);
  while (accept_operator("**")) e = binary(Kind::kBinary, "**", std::move(e), parse_unary(true));
  return e;
}

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
  const Nesting nesting(depth_);
  if (depth_ > kDeepest) fail("the template is nested too deeply");
  ExpressionPtr e;
  if (at_operator("-") || at_operator("+")) {
    e = make(Kind::kUnary, peek().text);
    take();
    e->parts.push_back(parse_unary(false));
  } else {
    e = parse_primary();
  }
  e = parse_postfix(std::move(e));
  return with_filters ? parse_filters_and_tests(std::move(e)) : std::move(e);
}

ExpressionPtr ExpressionParser::parse_filters_and_tests(ExpressionPtr subject) {
  while (true) {
    if (at_operator("|"))
      subject = parse_one_filter(std::move(subject));
    else if (at_name("is"))
      subject = parse_test(std::move(subject));
    else if (at_operator("("))
      subject = parse_postfix(std::move(subject));
    else
      return subject;
  }
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr subject) {
  while (at_operator("|")) subject = parse_one_filter(std::move(subject));
  return subject;
}

ExpressionPtr ExpressionParser::parse_one_filter(ExpressionPtr subject) {
  expect_operator("|");
  ExpressionPtr e = make(Kind::kFilter);
  e->text = expect_any_name();
  e->parts.push_back(std::move(subject));
  if (at_operator("(")) parse_arguments(*e);
  return e;
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr subject) {
  expect_name("is");
  ExpressionPtr e = make(Kind::kTest);
  e->negated = accept_name("not");
  e->text = expect_any_name();
  e->parts.push_back(std::move(subject));
  if (at_operator("(")) {
    parse_arguments(*e);
    return e;
  }
  const Token& t = peek();
  const bool literal =
      t.kind == TokenKind::kString || t.kind == TokenKind::kInteger || t.kind == TokenKind::kFloat || at_operator("[") || at_operator("{");
  const bool name = t.kind == TokenKind::kName && t.text != "else" && t.text != "or" && t.text != "and" && t.text != "is" &&
                    t.text != "if" && t.text != "in" && t.text != "not";
  if (literal || name) e->parts.push_back(parse_postfix(parse_primary()));
  return e;
}

void ExpressionParser::parse_arguments(Expression& call) {
  expect_operator("(");
  while (!accept_operator(")")) {
    if (at_operator("*") || at_operator("**")) fail("argument lists with * are not supported");
    if (peek().kind == TokenKind::kName && peek(1).kind == TokenKind::kOperator && peek(1).text == "=") {
      std::string name = take().text;
      take();
      call.named.push_back({std::move(name), parse_expression()});
    } else {
      call.parts.push_back(parse_expression());
    }
    if (!at_operator(")")) expect_operator(",");
  }
}

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr subject) {
  while (true) {
    if (accept_operator(".")) {
      const bool number = peek().kind == TokenKind::kInteger;
      ExpressionPtr e = make(number ? Kind::kItem : Kind::kAttribute);
      e->parts.push_back(std::move(subject));
      if (number)
        e->parts.push_back(parse_primary());
      else
        e->text = expect_any_name();
      subject = std::move(e);
    } else if (at_operator("[")) {
      subject = parse_subscript(std::move(subject));
    } else if (at_operator("(")) {
      ExpressionPtr e = make(Kind::kCall);
      e->parts.push_back(std::move(subject));
      parse_arguments(*e);
      subject = std::move(e);
    } else {
      return subject;
    }
  }
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr subject) {
  expect_operator("[");
  ExpressionPtr index = at_operator(":") ? nullptr : parse_tuple();
  if (!at_operator(":")) {
    expect_operator("]");
    return binary(Kind::kItem, "", std::move(subject), std::move(index));
  }
  ExpressionPtr e = make(Kind::kSlice);
  e->parts.push_back(std::move(subject));
  e->parts.push_back(std::move(index));
  while (e->parts.size() < 4) {
    const bool more = accept_operator(":");
    e->parts.push_back(more && !at_operator(":") && !at_operator("]") ? parse_expression() : nullptr);
  }
  expect_operator("]");
  return e;
}

ExpressionPtr ExpressionParser::parse_primary() {
  const Token& t = peek();
  ExpressionPtr e = make(Kind::kConstant);
  if (t.kind == TokenKind::kName) return parse_name();
  if (t.kind == TokenKind::kString) {
    std::string text = take().text;
    while (peek().kind == TokenKind::kString) text += take().text;  // neighbours are one string
    e->constant = Value(std::move(text));
    return e;
  }
  if (t.kind == TokenKind::kInteger) {
    int64_t value = 0;
    if (std::from_chars(t.text.data(), t.text.data() + t.text.size(), value).ec != std::errc()) fail("an integer beyond 64 bits");
    e->constant = Value(value);
    take();
    return e;
  }
  if (t.kind == TokenKind::kFloat) {
    e->constant = Value(std::strtod(t.text.c_str(), nullptr));
    take();
    return e;
  }
  if (at_operator("[")) return parse_list();
  if (at_operator("{")) return parse_dict();
  if (!accept_operator("(")) fail("expected a value");
  e = at_operator(")") ? make(Kind::kTuple) : parse_tuple();
  expect_operator(")");
  return e;
}

ExpressionPtr ExpressionParser::parse_name() {
  ExpressionPtr e = make(Kind::kConstant);
  const std::string name = take().text;
  if (name == "true" || name == "True")
    e->constant = Value(true);
  else if (name == "false" || name == "False")
    e->constant = Value(false);
  else if (name == "none" || name == "None")
    e->constant = Value(None{});
  else {
    e->kind = Kind::kName;
    e->text = name;
  }
  return e;
}

ExpressionPtr ExpressionParser::parse_list() {
  ExpressionPtr e = make(Kind::kList);
  expect_operator("[");
  while (!accept_operator("]")) {
    e->parts.push_back(parse_expression());
    if (!at_operator("]")) expect_operator(",");
  }
  return e;
}

ExpressionPtr ExpressionParser::parse_dict() {
  ExpressionPtr e = make(Kind::kDict);
  expect_operator("{");
  while (!accept_operator("}")) {
    e->parts.push_back(parse_expression());
    expect_operator(":");
    e->parts.push_back(parse_expression());
    if (!at_operator("}")) expect_operator(",");
  }
  return e;
}

}  // namespace nemo::text::jinja

#include "core/text/jinja/ast.hpp"
#include "core/text/jinja/expression_parser.hpp"

namespace nemo::text::jinja {
namespace {

class Parser : private ExpressionParser {
 public:
  Parser(std::string_view source, std::string_view where) : ExpressionParser(tokenize(source, where), where) {}

  Body run() {
    Body body = parse_body({});
    if (peek().kind != TokenKind::kEnd) fail("expected no such tag here");
    return body;
  }

 private:
  // Up to a tag that begins with one of `ends` (which is not taken), or the end of the template.
  Body parse_body(const std::vector<std::string_view>& ends) {
    const Nesting nesting(depth_);
    if (depth_ > kDeepest) fail("the template is nested too deeply");
    Body body;
    while (true) {
      const Token& t = peek();
      if (t.kind == TokenKind::kEnd) break;
      if (t.kind == TokenKind::kText) {
        Statement s = make_statement(Statement::Kind::kText);
        s.text = take().text;
        body.push_back(std::move(s));
      } else if (t.kind == TokenKind::kOutputBegin) {
        take();
        Statement s = make_statement(Statement::Kind::kOutput);
        s.value = parse_tuple();
        if (peek().kind != TokenKind::kOutputEnd) fail("expected '}}'");
        take();
        body.push_back(std::move(s));
      } else {
        for (const std::string_view end : ends)
          if (peek(1).kind == TokenKind::kName && peek(1).text == end) return body;
        take();
        parse_block(body);
      }
    }
    if (!ends.empty()) fail("expected '" + std::string(ends.back()) + "'");
    return body;
  }

  [[nodiscard]] Statement make_statement(Statement::Kind kind) const {
    Statement s;
    s.kind = kind;
    s.line = peek().line;
    return s;
  }
  void end_tag() {
    if (peek().kind != TokenKind::kBlockEnd) fail("expected '%}'");
    take();
  }
  // {% NAME %}, with the block's own name behind it perhaps.
  void closing(std::string_view name) {
    take();
    expect_name(name);
    if (peek().kind == TokenKind::kName) take();
    end_tag();
  }

  void parse_block(Body& body) {
    const std::string name = expect_any_name();
    if (name == "if") return body.push_back(parse_if());
    if (name == "for") return body.push_back(parse_for());
    if (name == "set") return body.push_back(parse_set());
    if (name == "macro") return body.push_back(parse_macro());
    if (name == "call") return body.push_back(parse_call());
    if (name == "filter") return body.push_back(parse_filter());
    if (name == "with") return body.push_back(parse_with());
    if (name == "generation") return body.push_back(parse_generation());
    if (name == "break" || name == "continue") {
      body.push_back(make_statement(name == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue));
      return end_tag();
    }
    if (name == "do") {
      fail("the tag 'do' is not supported; chat templates cannot change values");
    }
    --at_;
    fail("expected a tag that is known (if, for, set, macro, call, filter, with, raw, break, continue)");
  }

  // Behind "if" or "elif".
  Statement parse_if() {
    Statement s = make_statement(Statement::Kind::kChoice);
    s.value = parse_tuple();
    end_tag();
    s.body = parse_body({"elif", "else", "endif"});
    const std::string next = peek(1).text;
    if (next == "elif") {
      const Nesting nesting(depth_);
      take();
      take();
      s.otherwise.push_back(parse_if());
      return s;
    }
    if (next == "else") {
      take();
      take();
      end_tag();
      s.otherwise = parse_body({"endif"});
    }
    closing("endif");
    return s;
  }

  ExpressionPtr parse_target() {
    ExpressionPtr first = parse_one_target();
    if (!at_operator(",")) return first;
    ExpressionPtr tuple = make(Expression::Kind::kTuple);
    tuple->parts.push_back(std::move(first));
    while (accept_operator(","))
      if (peek().kind == TokenKind::kName || at_operator("(")) tuple->parts.push_back(parse_one_target());
    return tuple;
  }
  ExpressionPtr parse_one_target() {
    if (accept_operator("(")) {
      ExpressionPtr inner = parse_target();
      expect_operator(")");
      return inner;
    }
    ExpressionPtr e = make(Expression::Kind::kName);
    e->text = expect_any_name();
    if (!accept_operator(".")) return e;
    ExpressionPtr attribute = make(Expression::Kind::kAttribute);
    attribute->text = expect_any_name();
    attribute->parts.push_back(std::move(e));
    return attribute;
  }

  Statement parse_for() {
    Statement s = make_statement(Statement::Kind::kLoop);
    s.targets.push_back(parse_target());
    expect_name("in");
    s.value = parse_loop_source();
    if (accept_name("if")) s.condition = parse_expression();
    s.recursive = accept_name("recursive");
    end_tag();
    s.body = parse_body({"else", "endfor"});
    if (peek(1).text == "else") {
      take();
      take();
      end_tag();
      s.otherwise = parse_body({"endfor"});
    }
    closing("endfor");
    return s;
  }
  // "x in a if b" filters; it is no choice.
  ExpressionPtr parse_loop_source() {
    ExpressionPtr first = parse_without_choice();
    if (!at_operator(",")) return first;
    ExpressionPtr tuple = make(Expression::Kind::kTuple);
    tuple->parts.push_back(std::move(first));
    while (accept_operator(",")) tuple->parts.push_back(parse_without_choice());
    return tuple;
  }

  Statement parse_set() {
    Statement s = make_statement(Statement::Kind::kAssign);
    s.targets.push_back(parse_target());
    if (accept_operator("=")) {
      s.value = parse_tuple();
      end_tag();
      return s;
    }
    s.kind = Statement::Kind::kAssignBlock;
    s.value = parse_filters(nullptr);
    end_tag();
    s.body = parse_body({"endset"});
    closing("endset");
    return s;
  }

  std::vector<Parameter> parse_parameters() {
    std::vector<Parameter> out;
    expect_operator("(");
    while (!accept_operator(")")) {
      Parameter p;
      p.name = expect_any_name();
      if (accept_operator("=")) p.otherwise = parse_expression();
      out.push_back(std::move(p));
      if (!at_operator(")")) expect_operator(",");
    }
    return out;
  }

  Statement parse_macro() {
    Statement s = make_statement(Statement::Kind::kMacro);
    s.text = expect_any_name();
    s.parameters = parse_parameters();
    end_tag();
    s.body = parse_body({"endmacro"});
    closing("endmacro");
    return s;
  }

  Statement parse_call() {
    Statement s = make_statement(Statement::Kind::kCall);
    if (at_operator("(")) s.parameters = parse_parameters();
    s.value = parse_expression();
    if (s.value->kind != Expression::Kind::kCall) fail("expected a call");
    end_tag();
    s.body = parse_body({"endcall"});
    closing("endcall");
    return s;
  }

  Statement parse_filter() {
    Statement s = make_statement(Statement::Kind::kFilter);
    ExpressionPtr first = make(Expression::Kind::kFilter);
    first->text = expect_any_name();
    first->parts.push_back(nullptr);
    if (at_operator("(")) parse_arguments(*first);
    s.value = parse_filters(std::move(first));
    end_tag();
    s.body = parse_body({"endfilter"});
    closing("endfilter");
    return s;
  }

  Statement parse_with() {
    Statement s = make_statement(Statement::Kind::kScope);
    while (peek().kind == TokenKind::kName) {
      Parameter p;
      p.name = expect_any_name();
      expect_operator("=");
      p.otherwise = parse_expression();
      s.parameters.push_back(std::move(p));
      if (!accept_operator(",")) break;
    }
    end_tag();
    s.body = parse_body({"endwith"});
    closing("endwith");
    return s;
  }

  // Marks what the assistant said, for training; it is text like any other.
  Statement parse_generation() {
    Statement s = make_statement(Statement::Kind::kScope);
    end_tag();
    s.body = parse_body({"endgeneration"});
    closing("endgeneration");
    return s;
  }
};

}  // namespace

Body parse(std::string_view source, std::string_view where) { return Parser(source, where).run(); }

}  // namespace nemo::text::jinja

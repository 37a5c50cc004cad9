// core/text/jinja/expression_parser.hpp - the expressions of templates, by recursive descent.
#pragma once

#include "core/text/jinja/ast.hpp"
#include "core/text/jinja/lexer.hpp"

namespace nemo::text::jinja {

class ExpressionParser {
 protected:
  ExpressionParser(std::vector<Token> tokens, std::string_view where) : tokens_(std::move(tokens)), where_(where) {}

  [[noreturn]] void fail(const std::string& what) const;
  [[nodiscard]] const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[at_ < tokens_.size() - 1 ? at_++ : at_]; }
  [[nodiscard]] bool at_operator(std::string_view text) const { return peek().kind == TokenKind::kOperator && peek().text == text; }
  [[nodiscard]] bool at_name(std::string_view text) const { return peek().kind == TokenKind::kName && peek().text == text; }
  bool accept_operator(std::string_view text);
  bool accept_name(std::string_view text);
  void expect_operator(std::string_view text);
  void expect_name(std::string_view text);
  std::string expect_any_name();

  // With commas at the top level it is a tuple.
  ExpressionPtr parse_tuple();
  ExpressionPtr parse_expression();
  ExpressionPtr parse_without_choice() { return parse_or(); }
  // | name(...) | name ... behind `subject`, which may be nullptr.
  ExpressionPtr parse_filters(ExpressionPtr subject);
  ExpressionPtr parse_postfix(ExpressionPtr subject);
  ExpressionPtr make(Expression::Kind kind, std::string text = "") const;
  void parse_arguments(Expression& call);
  ExpressionPtr parse_primary();

 private:
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr subject);
  ExpressionPtr parse_one_filter(ExpressionPtr subject);
  ExpressionPtr parse_test(ExpressionPtr subject);
  ExpressionPtr parse_subscript(ExpressionPtr subject);
  ExpressionPtr parse_name();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr binary(Expression::Kind kind, std::string op, ExpressionPtr left, ExpressionPtr right);
  [[nodiscard]] bool ends_tuple() const;

 protected:
  std::vector<Token> tokens_;
  std::string_view where_;
  size_t at_ = 0;
  int depth_ = 0;  // of nested expressions and blocks
};

// Counts nesting while it lives. A template may not nest deeper than kDeepest.
class Nesting {
 public:
  explicit Nesting(int& depth) : depth_(depth) { ++depth_; }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

}  // namespace nemo::text::jinja

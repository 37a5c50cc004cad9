// core/text/jinja/lexer.hpp - cuts a template into text and the tokens of its tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nemo::text::jinja {

enum class TokenKind { kText, kBlockBegin, kBlockEnd, kOutputBegin, kOutputEnd, kName, kInteger, kFloat, kString, kOperator, kEnd };

struct Token {
  TokenKind kind;
  std::string text;  // of strings without quotes and escapes
  int line;
};

// With trim_blocks and lstrip_blocks; comments are gone, raw blocks are text, one newline at the end is dropped. Throws Error(kDataLoss)
// with WHERE:line.
[[nodiscard]] std::vector<Token> tokenize(std::string_view source, std::string_view where);

}  // namespace nemo::text::jinja

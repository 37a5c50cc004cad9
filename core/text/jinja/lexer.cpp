#include "core/text/jinja/lexer.hpp"

#include <algorithm>
#include <cctype>

#include "core/base/error.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::jinja {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool starts_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<uint8_t>(c) >= 0x80; }
bool in_name(char c) { return starts_name(c) || std::isdigit(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view where) : where_(where) {
    for (size_t i = 0; i < source.size(); ++i) {  // all line ends become \n
      if (source[i] != '\r')
        source_ += source[i];
      else if (i + 1 == source.size() || source[i + 1] != '\n')
        source_ += '\n';
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      text(tag);
      if (at_ >= source_.size()) break;
      if (starts("{#"))
        comment();
      else if (const size_t behind = raw_begin(); behind != 0)
        raw(behind);
      else if (starts("{%"))
        inside("%}", TokenKind::kBlockBegin, TokenKind::kBlockEnd);
      else
        inside("}}", TokenKind::kOutputBegin, TokenKind::kOutputEnd);
    }
    tokens_.push_back({TokenKind::kEnd, "", line_});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Code::kDataLoss, std::string(where_) + ":" + std::to_string(line_) + ": " + what);
  }
  [[nodiscard]] bool starts(std::string_view s) const { return source_.compare(at_, s.size(), s) == 0; }
  [[nodiscard]] char peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
  void advance(size_t to) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_), source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  [[nodiscard]] size_t next_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1))
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    return source_.size();
  }

  // What is left of a text that a tag at `end` follows.
  [[nodiscard]] size_t trimmed(size_t begin, size_t end) const {
    const char sign = end + 2 < source_.size() ? source_[end + 2] : '\0';
    if (end >= source_.size() || sign == '+') return end;
    size_t cut = end;
    if (sign == '-') {
      while (cut > begin && is_space(source_[cut - 1])) --cut;
      return cut;
    }
    if (source_[end + 1] == '{') return end;  // lstrip_blocks is for blocks and comments
    while (cut > begin && (source_[cut - 1] == ' ' || source_[cut - 1] == '\t')) --cut;
    const bool line_start = cut > begin ? source_[cut - 1] == '\n' : line_starts_;
    return line_start ? cut : end;
  }

  void text(size_t end) {
    const size_t cut = trimmed(at_, end);
    if (cut > at_) tokens_.push_back({TokenKind::kText, source_.substr(at_, cut - at_), line_});
    advance(end);
  }

  // Steps over a closing tag of two characters whose sign, if any, is at at_.
  void close(bool trims_newline) {
    const char sign = peek();
    if (sign == '-' || sign == '+') advance(at_ + 1);
    size_t end = at_ + 2;
    if (sign == '-')
      while (end < source_.size() && is_space(source_[end])) ++end;
    else if (sign != '+' && trims_newline && end < source_.size() && source_[end] == '\n')
      ++end;
    line_starts_ = source_[end - 1] == '\n';
    advance(end);
  }

  void comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) fail("a comment that does not end");
    const bool sign = end > at_ + 2 && (source_[end - 1] == '-' || source_[end - 1] == '+');
    advance(sign ? end - 1 : end);
    close(true);
  }

  // Behind "{% NAME" at `from`, where the tag's closing begins; 0: another tag.
  [[nodiscard]] size_t bare_block(size_t from, std::string_view name) const {
    size_t i = from + 2;
    if (source_.compare(from, 2, "{%") != 0) return 0;
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) ++i;
    while (i < source_.size() && is_space(source_[i])) ++i;
    if (source_.compare(i, name.size(), name) != 0) return 0;
    i += name.size();
    while (i < source_.size() && is_space(source_[i])) ++i;
    const bool sign = i < source_.size() && (source_[i] == '-' || source_[i] == '+');
    return source_.compare(i + (sign ? 1 : 0), 2, "%}") == 0 ? i : 0;
  }
  [[nodiscard]] size_t raw_begin() const { return bare_block(at_, "raw"); }

  void raw(size_t behind) {
    advance(behind);
    close(false);
    for (size_t end = source_.find("{%", at_); end != std::string::npos; end = source_.find("{%", end + 1)) {
      const size_t closing = bare_block(end, "endraw");
      if (closing == 0) continue;
      text(end);
      advance(closing);
      close(true);
      return;
    }
    fail("a raw block without endraw");
  }

  void inside(std::string_view closing, TokenKind begin, TokenKind end) {
    tokens_.push_back({begin, "", line_});
    advance(at_ + 2 + (peek(2) == '-' || peek(2) == '+' ? 1 : 0));
    int depth = 0;  // of brackets: "}}" may close dicts
    while (true) {
      while (is_space(peek())) advance(at_ + 1);
      if (at_ >= source_.size()) fail("a tag that does not end");
      const size_t sign = peek() == '-' || peek() == '+' ? 1 : 0;
      if (depth == 0 && source_.compare(at_ + sign, 2, closing) == 0) break;
      const std::string op = token();
      if (op == "(" || op == "[" || op == "{") ++depth;
      if (op == ")" || op == "]" || op == "}") --depth;
    }
    tokens_.push_back({end, "", line_});
    close(end == TokenKind::kBlockEnd);
  }

  // Reads one token; gives back an operator's text.
  std::string token() {
    if (starts_name(peek()))
      name();
    else if (std::isdigit(static_cast<unsigned char>(peek())))
      number();
    else if (peek() == '"' || peek() == '\'')
      string();
    else
      return op();
    return "";
  }

  void name() {
    size_t end = at_;
    while (end < source_.size() && in_name(source_[end])) ++end;
    push(TokenKind::kName, end);
  }
  void push(TokenKind kind, size_t end) {
    tokens_.push_back({kind, source_.substr(at_, end - at_), line_});
    advance(end);
  }

  void number() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (std::isdigit(static_cast<unsigned char>(source_[end])) || source_[end] == '_')) ++end;
    };
    const auto digit_at = [&](size_t i) { return i < source_.size() && std::isdigit(static_cast<unsigned char>(source_[i])); };
    TokenKind kind = TokenKind::kInteger;
    digits();
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      kind = TokenKind::kFloat;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-') ? 1 : 0;
      if (digit_at(end + 1 + sign)) {
        kind = TokenKind::kFloat;
        end += 1 + sign;
        digits();
      }
    }
    push(kind, end);
    std::erase(tokens_.back().text, '_');
  }

  void string() {
    const char quote = peek();
    const int line = line_;
    std::string out;
    advance(at_ + 1);
    while (peek() != quote) {
      if (at_ >= source_.size()) fail("a string that does not end");
      if (peek() == '\\')
        escape(out);
      else {
        out += peek();
        advance(at_ + 1);
      }
    }
    advance(at_ + 1);
    tokens_.push_back({TokenKind::kString, std::move(out), line});
  }

  void escape(std::string& out) {
    static constexpr std::string_view kNames = "nrtabfv0\\'\"", kValues("\n\r\t\a\b\f\v\0\\'\"", 11);
    const char c = peek(1);
    const int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == '\n') {
      advance(at_ + 2);
    } else if (digits > 0) {
      const std::string hex = source_.substr(std::min(at_ + 2, source_.size()), static_cast<size_t>(digits));
      if (hex.size() != static_cast<size_t>(digits) || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
        fail("a \\" + std::string(1, c) + " that is not followed by " + std::to_string(digits) + " hexadecimal digits");
      const unsigned long value = std::stoul(hex, nullptr, 16);
      if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) fail("\\" + std::string(1, c) + hex + " is no character");
      append_code_point(out, static_cast<char32_t>(value));
      advance(at_ + 2 + static_cast<size_t>(digits));
    } else {
      const size_t known = c == '\0' ? std::string_view::npos : kNames.find(c);
      if (known != std::string_view::npos)
        out += kValues[known];
      else
        out += std::string("\\") + c;
      advance(std::min(at_ + 2, source_.size()));
    }
  }

  std::string op() {
    for (const std::string_view two : {"//", "**", "==", "!=", ">=", "<="})
      if (starts(two)) {
        push(TokenKind::kOperator, at_ + 2);
        return std::string(two);
      }
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(peek()) == std::string_view::npos)
      fail("unexpected character '" + std::string(1, peek()) + "'");
    std::string one(1, peek());
    push(TokenKind::kOperator, at_ + 1);
    return one;
  }

  std::string source_;
  std::string_view where_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // whether what came before at_ ended a line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, std::string_view where) { return Lexer(source, where).run(); }

}  // namespace nemo::text::jinja

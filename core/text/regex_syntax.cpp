#include "core/text/regex_syntax.hpp"

#include <array>
#include <cstdio>
#include <vector>

#include "core/base/error.hpp"
#include "core/text/unicode_versions.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

// PCRE2's own \s also has U+180E, which Unicode took out of White_Space in version 6.3.
constexpr std::string_view kSpaces =
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr std::string_view kNotSpaces =
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}"
    "\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}";

struct LongName {
  std::string_view name, category;
};
constexpr std::array kLongNames = std::to_array<LongName>({
    {"Letter", "L"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"Digit", "Nd"},
    {"Punctuation", "P"},
    {"Punct", "P"},
    {"Symbol", "S"},
    {"Separator", "Z"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"Cntrl", "Cc"},
});

std::string added_since(std::string_view category) {
  std::string out;
  for (const NewCharacters& n : unicode_differences().new_characters) {
    if (!std::string_view(n.category).starts_with(category)) continue;
    char text[40];
    std::snprintf(text, sizeof text, n.first == n.last ? "\\x{%X}" : "\\x{%X}-\\x{%X}", static_cast<unsigned>(n.first),
                  static_cast<unsigned>(n.last));
    out += text;
  }
  return out;
}

// What a property is as the inside of a character class. ASCII comes first and in ranges, which PCRE2 tests with a bitmap.
std::string property_set(std::string_view name) {
  for (const LongName& l : kLongNames)
    if (l.name == name) name = l.category;
  if (name == "Alphabetic" || name == "Alpha") return "A-Za-z\\p{Alphabetic}" + added_since("L");
  if (name == "Alnum") return "0-9A-Za-z\\p{Alphabetic}\\p{Nd}" + added_since("L") + added_since("Nd");
  if (name == "Word" || name == "w")
    return "0-9A-Z_a-z\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}" + added_since("L") + added_since("M") + added_since("Nd");
  if (name == "Space" || name == "White_Space") return std::string(kSpaces);
  if (name == "Upper") return "\\p{Uppercase}" + added_since("Lu");
  if (name == "Lower") return "\\p{Lowercase}" + added_since("Ll");
  const bool is_category = name.size() <= 2 && std::string_view("LMNPSZC").find(name.empty() ? '?' : name[0]) != std::string_view::npos;
  if (!is_category) return name == "Any" || name == "L&" ? "\\p{" + std::string(name) + "}" : "\\p{sc:" + std::string(name) + "}";
  std::string ascii;
  if (name == "L") ascii = "A-Za-z";
  if (name == "Lu") ascii = "A-Z";
  if (name == "Ll") ascii = "a-z";
  if (name == "N" || name == "Nd") ascii = "0-9";
  return ascii + "\\p{" + std::string(name) + "}" + added_since(name);
}

class Translator {
 public:
  Translator(std::string_view in, RegexSyntax syntax, std::string_view where) : in_(in), syntax_(syntax), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(Code code, const std::string& what) const {
    throw Error(code,
                std::string(where_) + ": pattern '" + replace_invalid_utf8(in_) + "', character " + std::to_string(at_) + ": " + what);
  }
  [[nodiscard]] bool more() const { return at_ < in_.size(); }
  [[nodiscard]] char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void copy_code_point() {
    const uint32_t n = decode_code_point(in_, at_).length;
    out_.append(in_.substr(at_, n));
    at_ += n;
  }

  void step() {
    switch (peek()) {
      case '\\':
        atom_ = out_.size();
        return escape();
      case '[':
        atom_ = out_.size();
        return char_class();
      case '(':
        return open_group();
      case ')':
        atom_ = groups_.empty() ? 0 : groups_.back();
        if (!groups_.empty()) groups_.pop_back();
        return copy_code_point();
      case '{':
        if (quantifier()) return;
        atom_ = out_.size();
        return copy_code_point();
      case '*':
      case '+':
      case '?':
      case '|':
        return copy_code_point();
      default:
        atom_ = out_.size();
        return copy_code_point();
    }
  }

  void open_group() {
    groups_.push_back(out_.size());
    copy_code_point();
    if (peek() != '?') return;
    while (more()) {
      const char c = peek();
      if (c == 'm' && syntax_ == RegexSyntax::kOniguruma && in_[at_ - 1] != '<') {  // Ruby's m lets a dot match newlines
        out_ += 's';
        ++at_;
        continue;
      }
      if (c == ')') return;  // flags for the rest of the group: step() closes it
      copy_code_point();
      if (c == ':' || c == '=' || c == '!' || c == '>') return;
    }
  }

  // {n}, {n,}, {n,m}, {,m}; false: not a quantifier here.
  bool quantifier() {
    const size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) return false;
    const std::string_view body = in_.substr(at_ + 1, end - at_ - 1);
    if (body.empty() || body == "," || body.find_first_not_of("0123456789,") != std::string_view::npos) return false;
    out_ += "{" + std::string(body[0] == ',' ? "0" : "") + std::string(body) + "}";
    at_ = end + 1;
    // Ruby: the braces again, one or more times; elsewhere a possessive quantifier.
    if (peek() == '+' && syntax_ == RegexSyntax::kOniguruma) {
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
    return true;
  }

  std::string property_name(bool& negated) {
    at_ += 2;
    if (peek() != '{') {
      std::string one(1, peek());
      ++at_;
      return one;
    }
    const size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) fail(Code::kDataLoss, "a property without its closing brace");
    std::string name(in_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    for (const std::string_view prefix : {"Is", "General_Category=", "gc=", "Script=", "sc=", "script="})
      if (name.starts_with(prefix)) name.erase(0, prefix.size());
    return name;
  }

  enum class Place { kOutside, kInClass };
  // Oniguruma's \w has superscripts and fractions of Latin-1, but not within a class; Rust's has the joiners.
  [[nodiscard]] std::string_view word_extras(Place place) const {
    if (syntax_ == RegexSyntax::kRust) return "\\x{200C}\\x{200D}";
    return place == Place::kOutside ? "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" : "";
  }

  // Reads a set written with a backslash; false: this escape is something else.
  bool read_set(Place place, std::string& set, bool& negated) {
    const char c = peek(1);
    if (c == 'p' || c == 'P') {
      negated = c == 'P';
      set = property_set(property_name(negated));
      return true;
    }
    const bool hex_digit = syntax_ == RegexSyntax::kOniguruma && (c == 'h' || c == 'H');
    if (c == 's' || c == 'S')
      set = kSpaces;
    else if (c == 'w' || c == 'W')
      set = property_set("w").append(word_extras(place));
    else if (c == 'd' || c == 'D')
      set = property_set("Nd");
    else if (hex_digit)
      set = "0-9A-Fa-f";
    else
      return false;
    negated = c < 'a';
    at_ += 2;
    return true;
  }

  void plain_escape() {
    if (at_ + 1 >= in_.size()) fail(Code::kDataLoss, "the pattern ends with a backslash");
    if (peek(1) == 'u') {
      out_ += "\\x{" + std::string(in_.substr(std::min(at_ + 2, in_.size()), 4)) + "}";
      at_ = std::min(at_ + 6, in_.size());
      return;
    }
    // PCRE2 refuses a backslash before a letter or digit that means nothing to it, and needs none before other non-ASCII characters.
    if (static_cast<uint8_t>(peek(1)) < 0x80) out_ += '\\';
    ++at_;
    copy_code_point();
  }

  void escape() {
    std::string set;
    bool negated = false;
    if (read_set(Place::kOutside, set, negated))
      out_ += (negated ? "[^" : "[") + set + "]";
    else
      plain_escape();
  }

  void class_escape() {
    const bool spaces = peek(1) == 'S';
    std::string set;
    bool negated = false;
    if (!read_set(Place::kInClass, set, negated)) return plain_escape();
    if (!negated)
      out_ += set;
    else if (spaces)
      out_ += kNotSpaces;
    else
      complements_.push_back(set);
  }

  // PCRE2's own \W, \D and \P{..} mean something else, and classes have no complements of sets: those become alternatives of the class.
  void char_class() {
    const size_t start = out_.size();
    complements_.clear();
    ++at_;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    class_body(0);
    const std::string plain = out_.substr(start);
    out_.resize(start);
    if (complements_.empty()) {
      out_ += (negated ? "[^" : "[") + plain + "]";
      return;
    }
    std::string any = plain.empty() ? "" : "[" + plain + "]";
    for (const std::string& set : complements_) any += (any.empty() ? "[^" : "|[^") + set + "]";
    out_ += negated ? "(?:(?!" + any + ")[\\x{0}-\\x{10FFFF}])" : "(?:" + any + ")";
  }

  void class_body(int depth) {
    if (depth > 16) fail(Code::kUnsupported, "sets are nested too deeply");
    for (bool first = true; more(); first = false) {
      const char c = peek();
      if (c == ']' && !first) {
        ++at_;
        return;
      }
      if (c == '\\') {
        class_escape();
      } else if (c == '&' && peek(1) == '&') {
        fail(Code::kUnsupported, "set intersections (&&) are not supported");
      } else if (c == '[' && peek(1) == ':') {
        const size_t end = in_.find(":]", at_);
        if (end == std::string_view::npos) fail(Code::kDataLoss, "a [: without :]");
        out_ += in_.substr(at_, end + 2 - at_);
        at_ = end + 2;
      } else if (c == '[') {
        ++at_;
        if (peek() == '^') fail(Code::kUnsupported, "a negated set within a set is not supported");
        class_body(depth + 1);
      } else {
        if (c == ']') out_ += '\\';
        copy_code_point();
      }
    }
    fail(Code::kDataLoss, "a set without its closing bracket");
  }

  std::string_view in_;
  RegexSyntax syntax_;
  std::string_view where_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;  // where in out_ the last thing begins that a quantifier repeats
  std::vector<size_t> groups_;
  std::vector<std::string> complements_;  // sets whose complement the class at hand has
};

}  // namespace

std::string to_pcre2(std::string_view pattern, RegexSyntax syntax, std::string_view where) {
  return Translator(pattern, syntax, where).run();
}

}  // namespace nemo::text

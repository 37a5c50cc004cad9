#include "core/config/value.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>

namespace nemo::config {
namespace {

std::string quote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00", out += kHex[byte >> 4], out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string float_literal(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  std::array<char, 32> text{};
  char* const end = std::to_chars(text.data(), text.data() + text.size(), v).ptr;
  std::string out(text.data(), end);
  const size_t exponent = out.find('e');
  if (exponent != std::string::npos && out[exponent + 2] == '0') out.erase(exponent + 2, 1);
  return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
}

struct Literal {
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(int64_t v) const { return std::to_string(v); }
  std::string operator()(double v) const { return float_literal(v); }
  std::string operator()(const std::string& v) const { return quote(v); }
  std::string operator()(const Foreign& v) const { return v.kind; }
  std::string operator()(const List& v) const {
    std::string out = "[";
    for (const Value& element : v) out += (out.size() > 1 ? ", " : "") + to_literal(element);
    return out + "]";
  }
};

bool is_bare(std::string_view key) {
  for (const char c : key)
    if (!(('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || c == '_' || c == '-')) return false;
  return !key.empty();
}

}  // namespace

bool operator==(const Value& a, const Value& b) { return a.data == b.data; }

std::string to_literal(const Value& value) { return std::visit(Literal{}, value.data); }

std::string describe(const Value& value) {
  if (value.as<List>()) return "a list";
  if (const auto* foreign = value.as<Foreign>()) return foreign->kind;
  const char* kind = value.as<bool>()      ? "the boolean "
                     : value.as<int64_t>() ? "the integer "
                     : value.as<double>()  ? "the number "
                                           : "the string ";
  return kind + to_literal(value);
}

std::string to_string(const Origin& origin) {
  if (origin.kind == Origin::Kind::kDefault) return "default";
  if (origin.kind == Origin::Kind::kCommandLine) return "command line";
  const std::string name = std::filesystem::path(origin.file).filename();
  return (origin.kind == Origin::Kind::kBase ? "base " : "recipe ") + name + ":" + std::to_string(origin.line) + ":" +
         std::to_string(origin.column);
}

std::string location(const Origin& origin, std::string_view path) {
  if (origin.kind == Origin::Kind::kCommandLine) return "command line: " + origin.file;
  if (origin.kind == Origin::Kind::kDefault) return std::string(path);
  return origin.file + ":" + std::to_string(origin.line) + ":" + std::to_string(origin.column) + ": " + std::string(path);
}

std::string join_path(std::string_view parent, std::string_view key) {
  const std::string name = is_bare(key) ? std::string(key) : quote(key);
  return parent.empty() ? name : std::string(parent) + "." + name;
}

bool is_below(std::string_view path, std::string_view table) {
  return path.size() > table.size() + 1 && path.starts_with(table) && path[table.size()] == '.';
}

}  // namespace nemo::config

#include "core/text/jinja/strings.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstdio>

#include "core/text/unicode.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::jinja {
namespace {

template <class F>
void each(std::string_view s, F&& f) {
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = decode_code_point(s, at);
    f(c.value, at, c.length);
    at += c.length;
  }
}

char32_t upper_of(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }

void append_upper(std::string& out, char32_t c) {
  if (c == 0xDF)
    out += "SS";
  else
    append_code_point(out, upper_of(c));
}

void append_lower(std::string& out, char32_t c) {
  const LowerCase l = to_lower(c);
  for (int i = 0; i < l.count; ++i) append_code_point(out, l.points[static_cast<size_t>(i)]);
}

bool is_letter(char32_t c) { return to_lower(c).points[0] != c || upper_of(c) != c; }

bool is_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

bool printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  const utf8proc_category_t k = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return k != UTF8PROC_CATEGORY_CN && k < UTF8PROC_CATEGORY_ZS;
}

void append_hex(std::string& out, const char* format, unsigned value) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, format, value);
  out += buffer;
}

}  // namespace

int64_t count_characters(std::string_view s) {
  return std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

std::vector<std::string> characters(std::string_view s) {
  std::vector<std::string> out;
  each(s, [&](char32_t, size_t at, uint32_t n) { out.emplace_back(s.substr(at, n)); });
  return out;
}

std::string quote_python(std::string_view s) {
  const char quote = s.find('\'') != std::string_view::npos && s.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  each(s, [&](char32_t c, size_t at, uint32_t n) {
    if (c == static_cast<char32_t>(quote) || c == '\\')
      out += std::string("\\") + static_cast<char>(c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (printable(c))
      out += s.substr(at, n);
    else
      append_hex(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", static_cast<unsigned>(c));
  });
  return out + quote;
}

std::string quote_json(std::string_view s, bool ascii) {
  std::string out = "\"";
  each(s, [&](char32_t c, size_t at, uint32_t n) {
    if (c == '"' || c == '\\')
      out += std::string("\\") + static_cast<char>(c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\b')
      out += "\\b";
    else if (c == '\f')
      out += "\\f";
    else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000 && c != 0x7F))
      append_hex(out, "\\u%04x", static_cast<unsigned>(c));
    else if (ascii && c >= 0x10000) {
      append_hex(out, "\\u%04x", static_cast<unsigned>(0xD800 + ((c - 0x10000) >> 10)));
      append_hex(out, "\\u%04x", static_cast<unsigned>(0xDC00 + ((c - 0x10000) & 0x3FF)));
    } else
      out += s.substr(at, n);
  });
  return out + "\"";
}

std::string strip(std::string_view s, const std::string* set, Side side) {
  const std::vector<std::string> drop = set != nullptr ? characters(*set) : std::vector<std::string>{};
  size_t begin = s.size(), end = 0;
  each(s, [&](char32_t c, size_t at, uint32_t n) {
    const bool dropped = set == nullptr ? is_space(c) : std::find(drop.begin(), drop.end(), s.substr(at, n)) != drop.end();
    if (dropped) return;
    begin = std::min(begin, at);
    end = at + n;
  });
  if (side == Side::kRight) begin = 0;
  if (side == Side::kLeft) end = s.size();
  return begin < end ? std::string(s.substr(begin, end - begin)) : "";
}

namespace {

std::vector<std::string> split_at_spaces(std::string_view s, int64_t most) {
  std::vector<std::string> out;
  size_t begin = std::string_view::npos;
  bool done = false;
  each(s, [&](char32_t c, size_t at, uint32_t) {
    if (done) return;
    if (!is_space(c)) {
      if (begin == std::string_view::npos) begin = at;
      if (most >= 0 && static_cast<int64_t>(out.size()) == most) {
        out.push_back(strip(s.substr(begin), nullptr, Side::kRight));
        done = true;
      }
    } else if (begin != std::string_view::npos) {
      out.emplace_back(s.substr(begin, at - begin));
      begin = std::string_view::npos;
    }
  });
  if (!done && begin != std::string_view::npos) out.emplace_back(s.substr(begin));
  return out;
}

}  // namespace

std::vector<std::string> split(std::string_view s, const std::string* separator, int64_t most, Side from) {
  if (separator == nullptr) return split_at_spaces(s, most);
  std::vector<std::string> out;
  const auto more = [&] { return most < 0 || static_cast<int64_t>(out.size()) < most; };
  if (from == Side::kRight) {
    size_t at = 0;
    while (more() && (at = s.rfind(*separator)) != std::string_view::npos) {
      out.emplace_back(s.substr(at + separator->size()));
      s = s.substr(0, at);
    }
    out.emplace_back(s);
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t at = 0;
  while (more() && (at = s.find(*separator)) != std::string_view::npos) {
    out.emplace_back(s.substr(0, at));
    s.remove_prefix(at + separator->size());
  }
  out.emplace_back(s);
  return out;
}

std::vector<std::string> split_lines(std::string_view s, bool keep_ends) {
  std::vector<std::string> out;
  while (!s.empty()) {
    const size_t end = std::min(s.find_first_of("\r\n"), s.size());
    size_t next = end;
    if (end < s.size()) next += s.substr(end).starts_with("\r\n") ? 2 : 1;
    out.emplace_back(s.substr(0, keep_ends ? next : end));
    s.remove_prefix(next);
  }
  return out;
}

std::string lower(std::string_view s) {
  std::string out;
  each(s, [&](char32_t c, size_t, uint32_t) { append_lower(out, c); });
  return out;
}

std::string upper(std::string_view s) {
  std::string out;
  each(s, [&](char32_t c, size_t, uint32_t) { append_upper(out, c); });
  return out;
}

std::string capitalize(std::string_view s) {
  std::string out;
  each(s, [&](char32_t c, size_t at, uint32_t) { at == 0 ? append_upper(out, c) : append_lower(out, c); });
  return out;
}

std::string title(std::string_view s) {
  std::string out;
  bool inside = false;
  each(s, [&](char32_t c, size_t, uint32_t) {
    inside ? append_lower(out, c) : append_upper(out, c);
    inside = is_letter(c);
  });
  return out;
}

std::string title_words(std::string_view s) {
  std::string out;
  bool start = true;
  each(s, [&](char32_t c, size_t, uint32_t) {
    start ? append_upper(out, c) : append_lower(out, c);
    start = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  });
  return out;
}

std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t most) {
  std::string out;
  int64_t done = 0;
  if (from.empty()) {
    each(s, [&](char32_t, size_t at, uint32_t n) {
      if (most < 0 || done++ < most) out += to;
      out += s.substr(at, n);
    });
    if (most < 0 || done < most) out += to;
    return out;
  }
  size_t at = 0;
  while ((most < 0 || done < most) && (at = s.find(from)) != std::string_view::npos) {
    out += s.substr(0, at);
    out += to;
    s.remove_prefix(at + from.size());
    ++done;
  }
  return out.append(s);
}

}  // namespace nemo::text::jinja

// core/text/utf8.hpp - decoding of UTF-8 that may be broken (The Unicode Standard 15, table 3-7 and section 3.9, "maximal subparts").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nemo::text {

struct CodePoint {
  char32_t value = 0;
  uint32_t length = 0;   // bytes taken; for a broken sequence those of its maximal subpart, at least 1
  bool valid = false;    // false: truncated, overlong, surrogate or stray byte
  bool cut_off = false;  // not valid only because the text ends here
};

// The code point that starts at text[at]; requires at < text.size().
[[nodiscard]] CodePoint decode_code_point(std::string_view text, size_t at);

void append_code_point(std::string& out, char32_t value);

[[nodiscard]] bool is_valid_utf8(std::string_view bytes);

// Each maximal broken part becomes one U+FFFD.
[[nodiscard]] std::string replace_invalid_utf8(std::string_view bytes);

// How a character is shown in messages: 'é' (U+00E9); without the glyph for control characters.
[[nodiscard]] std::string describe_code_point(char32_t value);

}  // namespace nemo::text

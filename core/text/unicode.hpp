// core/text/unicode.hpp - properties of code points as the tokenizers library sees them, canonical forms, grapheme clusters.
//
// Data: utf8proc (Unicode 15), corrected by unicode_versions.hpp. Pure functions, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nemo::text {

[[nodiscard]] bool is_white_space(char32_t c);  // White_Space
[[nodiscard]] bool is_numeric(char32_t c);      // N*
[[nodiscard]] bool is_punctuation(char32_t c);  // P* or ASCII punctuation
[[nodiscard]] bool is_nonspacing_mark(char32_t c);
[[nodiscard]] bool is_mark(char32_t c);
[[nodiscard]] bool is_control_like(char32_t c);  // Cc, Cf, Co
[[nodiscard]] bool is_word(char32_t c);          // \w: Alphabetic, M*, Nd, Pc, Join_Control
[[nodiscard]] bool is_chinese(char32_t c);       // BERT's blocks of CJK ideographs

// The lower case of one character: one, or (U+0130 only) two code points.
struct LowerCase {
  std::array<char32_t, 2> points;
  int count;
};
[[nodiscard]] LowerCase to_lower(char32_t c);

// A character on its way through a normal form. `change` says what it stands for in the text before: 0: one character; 1: it was inserted
// behind its neighbour; -n: one character and the n that followed it.
struct ChangedChar {
  char32_t value;
  int32_t change;
};

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Unicode Standard Annex 15. Requires valid UTF-8.
[[nodiscard]] std::vector<ChangedChar> normalize(std::string_view text, NormalForm form);

// Byte length of the extended grapheme cluster at text[at] (Annex 29). Requires valid UTF-8 and at < text.size().
[[nodiscard]] size_t grapheme_length(std::string_view text, size_t at);

}  // namespace nemo::text

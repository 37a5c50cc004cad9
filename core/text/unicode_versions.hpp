// core/text/unicode_versions.hpp - where the Unicode versions that published tokenizers were made with differ from that of our libraries.
//
// The library that defines tokenizer.json mixes versions: Unicode 8 for punctuation and nonspacing marks, 9 for normalisation, 16 for
// regular expressions, 17 for lower case. Our libraries (utf8proc 2.8, PCRE2 10.42) have 15 and 14.
#pragma once

#include <span>

namespace nemo::text {

struct CodePointRange {
  char32_t first, last;
};

struct Mapping {
  char32_t first, last, to;  // `to` is the image of `first`; the others follow
};

struct NewCharacters {
  char32_t first, last;
  char category[3];  // "Lu"
};

// Sorted by code point.
struct UnicodeDifferences {
  std::span<const CodePointRange> punctuation_only, not_yet_punctuation, nonspacing_only, not_yet_nonspacing, mark_only, not_yet_mark,
      not_yet_reordered, not_yet_decomposed;
  std::span<const Mapping> lower_case;
  std::span<const NewCharacters> new_characters;
};

[[nodiscard]] const UnicodeDifferences& unicode_differences();

}  // namespace nemo::text

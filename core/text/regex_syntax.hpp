// core/text/regex_syntax.hpp - regular expressions of tokenizer files, rewritten for PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace nemo::text {

// Whose rules a pattern follows: Oniguruma's Ruby syntax (tokenizer.json) or Rust's regex and fancy-regex (tiktoken).
enum class RegexSyntax { kOniguruma, kRust };

// The pattern in PCRE2's syntax (UTF and UCP), with \s, \w, \d and \p{..} meaning what Unicode 16 says. `where` names the pattern's source
// in messages. Throws Error(kUnsupported) for set intersections and negated sets within sets, Error(kDataLoss) for a pattern that ends
// early.
[[nodiscard]] std::string to_pcre2(std::string_view pattern, RegexSyntax syntax, std::string_view where);

}  // namespace nemo::text

// core/text/regex.hpp - regular expressions over UTF-8 text, compiled by PCRE2 with its JIT.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/text/regex_syntax.hpp"

namespace nemo::text {

struct Match {
  size_t begin, end;
};

// Immutable after construction; any thread may search.
class Regex {
 public:
  // `where` names the source of the pattern in messages. Throws Error(kDataLoss) for a pattern that does not compile, and what to_pcre2
  // throws.
  Regex(std::string_view pattern, RegexSyntax syntax, std::string_view where);
  // A pattern that matches exactly `text`.
  [[nodiscard]] static Regex literal(std::string_view text);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // The first match at or behind `from`; lookbehind sees what is before it. Requires valid UTF-8 and from <= text.size() at a character's
  // start. Throws Error(kUnsupported) where the pattern needs more backtracking than PCRE2's limits allow.
  [[nodiscard]] bool find(std::string_view text, size_t from, Match& match) const;

  // Calls f(begin, end, is_match) for matches and for what lies between them, in order, without empty pieces in between. Empty matches are
  // given and advance by one character.
  template <class F>
  void cut(std::string_view text, F&& f) const {
    size_t done = 0, from = 0;
    Match m;
    while (from <= text.size() && find(text, from, m)) {
      if (m.begin == m.end && m.begin == text.size() && done == text.size() && done > 0) break;
      if (m.begin > done) f(done, m.begin, false);
      f(m.begin, m.end, true);
      done = m.end;
      from = m.end > m.begin ? m.end : next_character(text, m.end);
    }
    if (done < text.size()) f(done, text.size(), false);
  }

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  [[nodiscard]] static size_t next_character(std::string_view text, size_t at) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    return at;
  }
  [[nodiscard]] bool find_slowly(std::string_view text, size_t from, Match& match) const;

  std::unique_ptr<Code> code_;
};

}  // namespace nemo::text

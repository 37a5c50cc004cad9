// core/text/word_splitter.hpp - cuts text into the words that byte-pair encoding works on, by a regular expression (PCRE2).
#pragma once

#include <functional>
#include <memory>
#include <string_view>

namespace nemo::text {

// Immutable after construction; any thread may split.
class WordSplitter {
 public:
  // `pattern` is PCRE2 syntax in UTF mode; what it does not match becomes words of their own. Throws Error(kInternal) for a bad pattern.
  explicit WordSplitter(std::string_view pattern);
  ~WordSplitter();
  WordSplitter(const WordSplitter&) = delete;
  WordSplitter& operator=(const WordSplitter&) = delete;

  using Word = std::function<void(std::string_view)>;
  // Calls `word` with consecutive non-empty pieces that make up the whole text. Broken UTF-8 is allowed: each run of broken bytes is one
  // word.
  void split(std::string_view text, const Word& word) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

// GPT-2's rule (https://github.com/openai/gpt-2/blob/master/src/encoder.py) with Unicode's White_Space for \s.
extern const std::string_view kGpt2Pattern;

}  // namespace nemo::text

// core/runtime/text_stream.hpp - text from tokens as they come.
#pragma once

#include <string>
#include <vector>

#include "core/text/tokenizer.hpp"

namespace nemo::runtime {

// Decodes one continuation piece by piece. A piece is held back while it ends within a character (a token may hold part of one) or may be
// the beginning of a stop text.
class TextStream {
 public:
  TextStream(const text::Tokenizer& tokenizer, const std::vector<std::string>& stop) : tokenizer_(tokenizer), stop_(stop) {}
  // Takes the next token and returns the text that has become certain.
  std::string take(int32_t token);
  // What was held back, when no further token comes; without part of a character at the end.
  std::string rest();
  [[nodiscard]] bool stopped() const { return stopped_; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string certain();
  const text::Tokenizer& tokenizer_;
  const std::vector<std::string>& stop_;
  std::vector<int32_t> tokens_;
  size_t context_ = 0;  // first token that the next piece is decoded with: tokenizers treat the first token of a text specially
  size_t done_ = 0;     // tokens whose text is in text_
  std::string text_;    // decoded, up to a stop text
  size_t given_ = 0;    // bytes of text_ that were returned
  bool stopped_ = false;
};

}  // namespace nemo::runtime

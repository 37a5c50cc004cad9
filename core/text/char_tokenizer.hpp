// core/text/char_tokenizer.hpp - one token per Unicode character; the vocabulary is what occurs in a corpus, in order of code points.
#pragma once

#include <unordered_map>

#include "core/text/tokenizer.hpp"

namespace nemo::text {

class CharTokenizer final : public Tokenizer {
 public:
  // `code_points` must be sorted and without repeats; `where` names their source in messages.
  CharTokenizer(std::vector<char32_t> code_points, std::string_view where);
  // Throws Error(kDataLoss) with the byte offset where the corpus is not UTF-8, Error(kNotFound) where it is empty.
  [[nodiscard]] static std::unique_ptr<CharTokenizer> learn(const Corpus& corpus);

  [[nodiscard]] std::string_view type() const override { return "char"; }
  [[nodiscard]] int64_t vocab_size() const override { return static_cast<int64_t>(code_points_.size()); }
  // A character that is not in the vocabulary is an error that names it and its byte offset.
  void encode_to(std::string_view text, const IdSink& ids) const override;
  [[nodiscard]] std::string decode_bytes(std::span<const int32_t> ids) const override;
  [[nodiscard]] std::vector<TokenizerFile> files() const override;

 private:
  [[nodiscard]] int32_t find(char32_t value) const;  // -1: unknown

  std::vector<char32_t> code_points_;
  std::vector<int32_t> low_ids_;  // ids of U+0000 .. U+07FF, -1 where unknown
  std::unordered_map<char32_t, int32_t> high_ids_;
};

}  // namespace nemo::text

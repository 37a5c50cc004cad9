// core/text/extended_tokenizer.hpp - a tokenizer with further tokens behind its vocabulary, each known by its text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/text/tokenizer.hpp"

namespace nemo::text {

class ExtendedTokenizer final : public Tokenizer {
 public:
  // Token vocab_size() + i of `base` is names[i]. `eos`: the index in names that ends a text where base has no such token.
  ExtendedTokenizer(std::unique_ptr<Tokenizer> base, std::vector<std::string> names, size_t eos);

  [[nodiscard]] std::string_view type() const override { return base_->type(); }
  [[nodiscard]] int64_t vocab_size() const override { return base_->vocab_size() + static_cast<int64_t>(names_.size()); }
  [[nodiscard]] int64_t bos() const override { return base_->bos(); }
  [[nodiscard]] int64_t eos() const override { return base_->eos() >= 0 ? base_->eos() : base_->vocab_size() + static_cast<int64_t>(eos_); }
  // Names within the text are their tokens; where one begins another, the longest counts.
  void encode_to(std::string_view text, const IdSink& ids) const override;
  [[nodiscard]] std::string decode_bytes(std::span<const int32_t> ids) const override;
  [[nodiscard]] std::vector<TokenizerFile> files() const override { return base_->files(); }

 private:
  std::unique_ptr<Tokenizer> base_;
  std::vector<std::string> names_;
  size_t eos_;
};

}  // namespace nemo::text

// core/text/byte_tokenizer.hpp - every byte is a token: 256 ids, no special tokens, any input.
#pragma once

#include "core/text/tokenizer.hpp"

namespace nemo::text {

class ByteTokenizer final : public Tokenizer {
 public:
  [[nodiscard]] std::string_view type() const override { return "byte"; }
  [[nodiscard]] int64_t vocab_size() const override { return 256; }
  void encode_to(std::string_view text, const IdSink& ids) const override;
  [[nodiscard]] std::string decode_bytes(std::span<const int32_t> ids) const override;
  [[nodiscard]] std::vector<TokenizerFile> files() const override;
};

}  // namespace nemo::text

// core/text/hf/normalizers.hpp - the "normalizer" of a tokenizer.json: what happens to text before it is cut into words.
#pragma once

#include <memory>

#include "core/text/hf/aligned_text.hpp"
#include "core/text/hf/fields.hpp"

namespace nemo::text::hf {

// Immutable after construction; any thread.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(AlignedText& text) const = 0;
  [[nodiscard]] std::string apply_to(std::string_view text) const;
};

// NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Precompiled, BertNormalizer, Nmt, ByteLevel, Sequence. Throws
// Error(kUnsupported) for other types, Error(kDataLoss) for bad fields. nullptr for null.
[[nodiscard]] std::unique_ptr<Normalizer> make_normalizer(const Field& field, int depth = 0);

// The character map that SentencePiece compiles into its models: a double array over UTF-8 and the replacements behind it (the format of
// https://github.com/google/sentencepiece/blob/master/src/normalizer.cc). `base64` as in tokenizer.json.
[[nodiscard]] std::unique_ptr<Normalizer> make_precompiled(const Field& base64);

}  // namespace nemo::text::hf

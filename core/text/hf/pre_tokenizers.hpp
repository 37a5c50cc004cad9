// core/text/hf/pre_tokenizers.hpp - the "pre_tokenizer" of a tokenizer.json: cuts text into the pieces that the model works on.
#pragma once

#include <memory>
#include <vector>

#include "core/text/hf/aligned_text.hpp"
#include "core/text/hf/fields.hpp"

namespace nemo::text::hf {

// Immutable after construction; any thread.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // `pieces` are non-empty, ordered parts of `text`. Cuts them further, and may drop parts or write the text anew.
  virtual void apply(AlignedText& text, std::vector<Span>& pieces) const = 0;
  // Whether the pieces depend on where in the original the text comes from.
  [[nodiscard]] virtual bool needs_origins() const { return false; }
};

// What byte-level pieces are handed on as: spelled in GPT-2's alphabet, or as the bytes themselves (for a model that reads bytes).
enum class ByteSpelling { kAlphabet, kRaw };

// ByteLevel, Split, Metaspace, Whitespace, WhitespaceSplit, Punctuation, Digits, BertPreTokenizer, CharDelimiterSplit, FixedLength,
// Sequence. `last` is how a ByteLevel in the last place spells. Throws Error(kUnsupported) for other types, Error(kDataLoss)
// for bad fields. nullptr for null.
[[nodiscard]] std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Field& field, ByteSpelling last, int depth = 0);

// Whether the last step is ByteLevel, and no other is.
[[nodiscard]] bool ends_in_bytes(const Field& field);

// GPT-2's word pattern.
inline constexpr std::string_view kByteLevelPattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace nemo::text::hf

// core/text/hf/decoders.hpp - the "decoder" of a tokenizer.json: puts token strings together to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/text/hf/fields.hpp"

namespace nemo::text::hf {

// Immutable after construction; any thread.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites a list of token strings; the text is their concatenation.
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

// ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace, WordPiece, BPEDecoder, CTC, Sequence. A ByteLevel decoder gives bytes that may
// not be UTF-8. Throws Error(kUnsupported) for other types, Error(kDataLoss) for bad fields. nullptr for null.
[[nodiscard]] std::unique_ptr<Decoder> make_decoder(const Field& field, int depth = 0);

}  // namespace nemo::text::hf

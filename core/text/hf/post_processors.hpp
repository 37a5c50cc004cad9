// core/text/hf/post_processors.hpp - the "post_processor" of a tokenizer.json: special tokens around texts, and what offsets cover.
#pragma once

#include <memory>

#include "core/text/hf/encoding.hpp"

namespace nemo::text::hf {

enum class Specials { kLeaveOut, kAdd };

// Immutable after construction; any thread.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  // Special tokens that it adds to one text or to two.
  [[nodiscard]] virtual size_t added(bool pair) const = 0;
  // One or two encodings become any number, which are then put one behind the other.
  [[nodiscard]] virtual std::vector<Encoding> process(std::vector<Encoding> encodings, Specials specials) const = 0;
};

// TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence. Throws Error(kUnsupported) for other types, Error(kDataLoss)
// for bad fields. nullptr for null.
[[nodiscard]] std::unique_ptr<PostProcessor> make_post_processor(const Field& field, int depth = 0);

}  // namespace nemo::text::hf

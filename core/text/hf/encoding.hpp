// core/text/hf/encoding.hpp - tokens of a text with everything that is known about them; truncation and padding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/text/hf/aligned_text.hpp"
#include "core/text/hf/fields.hpp"

namespace nemo::text::hf {

// All lists have one element a token.
struct Encoding {
  std::vector<int32_t> ids, type_ids;
  std::vector<std::string> tokens;
  std::vector<Span> offsets;                          // code points [begin, end) of the text; {0, 0} for what was not in it
  std::vector<uint8_t> special_mask, attention_mask;  // 1: not from the text; 1: not padding
  std::vector<Encoding> overflowing;                  // what truncation cut off, in pieces

  [[nodiscard]] size_t size() const { return ids.size(); }
  void add(int32_t id, std::string token, Span offset, int32_t type_id, bool special);
  // Appends all of `other`, its overflow included: each piece of it behind this text and behind each piece of this one's.
  void append(const Encoding& other);
  [[nodiscard]] Encoding part(size_t begin, size_t end) const;
  void set_type(int32_t type_id) { type_ids.assign(ids.size(), type_id); }
};

enum class Direction { kLeft, kRight };
enum class Strategy { kLongestFirst, kOnlyFirst, kOnlySecond };

struct Truncation {
  int64_t max_length = 512, stride = 0;
  Strategy strategy = Strategy::kLongestFirst;
  Direction direction = Direction::kRight;
};

struct Padding {
  std::optional<int64_t> length;  // none: that of the longest in the batch
  std::optional<int64_t> multiple_of;
  int32_t id = 0, type_id = 0;
  std::string token = "[PAD]";
  Direction direction = Direction::kRight;
};

[[nodiscard]] std::optional<Truncation> read_truncation(const Field& field);
[[nodiscard]] std::optional<Padding> read_padding(const Field& field);

// Cuts to max_length together; what is cut off becomes overflow in pieces of max_length that share `stride` tokens. Throws Error(kConfig)
// where the strategy does not allow it or the stride is not smaller than the length.
void truncate(Encoding& first, Encoding* second, const Truncation& how);
void pad(std::vector<Encoding>& batch, const Padding& how);

}  // namespace nemo::text::hf

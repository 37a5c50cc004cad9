// core/text/hf/aligned_text.hpp - a text on its way through normalizers, which remembers where in the original each byte comes from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/unicode.hpp"

namespace nemo::text::hf {

// Bytes [begin, end).
struct Span {
  uint32_t begin = 0, end = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

// Not thread-safe. Valid UTF-8 throughout, at most 4 GiB.
class AlignedText {
 public:
  // A piece of the original that starts at byte `base` of it; not copied. Without `track`, origin() must not be called.
  AlignedText(std::string_view piece, uint32_t base, bool track) : view_(piece), base_(base), track_(track) {}
  AlignedText(AlignedText&&) = delete;
  AlignedText(const AlignedText&) = delete;
  AlignedText& operator=(const AlignedText&) = delete;

  [[nodiscard]] std::string_view view() const { return view_; }
  [[nodiscard]] bool tracks() const { return track_; }
  // The bytes of the original that [begin, end) stands for; begin < end <= size.
  [[nodiscard]] Span origin(size_t begin, size_t end) const;

  // Whether byte `at` stands for what the whole original begins with; for a text that was changed only exact where it is tracked.
  [[nodiscard]] bool starts_original(size_t at) const;

  // A part of the text by itself.
  [[nodiscard]] AlignedText slice(Span part) const;

  // Replaces the text by `chars`, whose changes say what they stand for. `dropped` characters are left out before the first.
  void transform(std::span<const ChangedChar> chars, size_t dropped = 0);

 private:
  AlignedText(const AlignedText& whole, Span part);
  friend class Rewriter;
  [[nodiscard]] Span origin_of_byte(size_t at) const;

  std::string_view view_;
  std::string storage_;        // what view_ shows once the text has been changed
  std::vector<Span> origins_;  // by byte; empty while the text is the original's
  uint32_t base_;
  bool track_;
};

// Writes the next state of a text from left to right; finish() puts it in place.
class Rewriter {
 public:
  explicit Rewriter(AlignedText& text);
  // Takes over bytes [begin, end) as they are.
  void keep(size_t begin, size_t end);
  // Writes something that stands for what byte `at` stands for.
  void put(std::string_view bytes, size_t at);
  void put(char32_t c, size_t at);
  [[nodiscard]] size_t size() const { return out_.size(); }
  void finish();

 private:
  AlignedText& text_;
  std::string out_;
  std::vector<Span> origins_;
};

}  // namespace nemo::text::hf

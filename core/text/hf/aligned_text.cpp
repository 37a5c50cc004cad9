#include "core/text/hf/aligned_text.hpp"

#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

bool continues(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace

Span AlignedText::origin_of_byte(size_t at) const {
  if (!origins_.empty()) return origins_[at];
  size_t begin = at, end = at + 1;
  while (begin > 0 && continues(view_[begin])) --begin;
  while (end < view_.size() && continues(view_[end])) ++end;
  return {base_ + static_cast<uint32_t>(begin), base_ + static_cast<uint32_t>(end)};
}

Span AlignedText::origin(size_t begin, size_t end) const { return {origin_of_byte(begin).begin, origin_of_byte(end - 1).end}; }

bool AlignedText::starts_original(size_t at) const {
  if (track_ || storage_.empty()) return origin_of_byte(at).begin == 0;
  return at == 0 && base_ == 0;
}

AlignedText::AlignedText(const AlignedText& whole, Span part)
    : view_(whole.view_.substr(part.begin, part.end - part.begin)), base_(whole.base_ + part.begin), track_(whole.track_) {
  if (whole.storage_.empty()) return;  // still the original's text, which outlives both
  storage_ = view_;
  view_ = storage_;
  if (!track_) return;
  origins_.assign(whole.origins_.begin() + part.begin, whole.origins_.begin() + part.end);
  base_ = origins_.empty() ? base_ : origins_[0].begin;
}

AlignedText AlignedText::slice(Span part) const { return AlignedText(*this, part); }

void AlignedText::transform(std::span<const ChangedChar> chars, size_t dropped) {
  Rewriter out(*this);
  size_t at = 0;
  const auto skip = [&](size_t n) {
    for (; n > 0 && at < view_.size(); --n) at += decode_code_point(view_, at).length;
  };
  skip(dropped);
  for (const ChangedChar& c : chars) {
    out.put(c.value, c.change > 0 ? (at == 0 ? 0 : at - 1) : at);
    if (c.change <= 0) skip(static_cast<size_t>(1 - c.change));
  }
  out.finish();
}

Rewriter::Rewriter(AlignedText& text) : text_(text) {
  out_.reserve(text.view_.size() + text.view_.size() / 8 + 16);
  if (text.track_) origins_.reserve(text.view_.size() + 16);
}

void Rewriter::keep(size_t begin, size_t end) {
  if (begin == end) return;
  out_.append(text_.view_.substr(begin, end - begin));
  if (!text_.track_) return;
  for (size_t at = begin; at < end; ++at) origins_.push_back(text_.origin_of_byte(at));
}

void Rewriter::put(std::string_view bytes, size_t at) {
  out_.append(bytes);
  if (!text_.track_) return;
  const Span origin = at < text_.view_.size() ? text_.origin_of_byte(at) : Span{text_.base_, text_.base_};
  origins_.insert(origins_.end(), bytes.size(), origin);
}

void Rewriter::put(char32_t c, size_t at) {
  const size_t before = out_.size();
  append_code_point(out_, c);
  if (!text_.track_) return;
  const Span origin = at < text_.view_.size() ? text_.origin_of_byte(at) : Span{text_.base_, text_.base_};
  origins_.insert(origins_.end(), out_.size() - before, origin);
}

void Rewriter::finish() {
  text_.storage_ = std::move(out_);
  text_.view_ = text_.storage_;
  text_.origins_ = std::move(origins_);
}

}  // namespace nemo::text::hf

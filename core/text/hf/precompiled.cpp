#include <cstring>
#include <optional>

#include "core/text/base64.hpp"
#include "core/text/hf/normalizers.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

// A double array as Darts-clone writes it: 32-bit units with label, offset and "has a leaf".
class DoubleArray {
 public:
  explicit DoubleArray(std::string_view bytes) : units_(bytes.size() / 4) { std::memcpy(units_.data(), bytes.data(), units_.size() * 4); }

  // The value of the shortest key that `text` starts with.
  [[nodiscard]] std::optional<uint32_t> shortest_prefix(std::string_view text) const {
    size_t node = 0;
    if (units_.empty()) return std::nullopt;
    node ^= offset(units_[0]);
    for (const char c : text) {
      const auto byte = static_cast<uint8_t>(c);
      if (byte == 0) return std::nullopt;
      node ^= byte;
      if (node >= units_.size() || label(units_[node]) != byte) return std::nullopt;
      const uint32_t unit = units_[node];
      node ^= offset(unit);
      if ((unit >> 8 & 1) == 1) {
        if (node >= units_.size()) return std::nullopt;
        return units_[node] & 0x7FFFFFFFu;
      }
    }
    return std::nullopt;
  }

 private:
  static size_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
  static uint32_t label(uint32_t unit) { return unit & (0x80000000u | 0xFFu); }
  std::vector<uint32_t> units_;
};

class Precompiled final : public Normalizer {
 public:
  Precompiled(DoubleArray trie, std::string replacements) : trie_(std::move(trie)), replacements_(std::move(replacements)) {
    for (int c = 0; c < 128; ++c) {
      const char text = static_cast<char>(c);
      plain_[c] = c != '\r' && !find({&text, 1});
    }
  }

  void apply(AlignedText& text) const override {
    const std::string_view s = text.view();
    std::vector<ChangedChar> chars;
    bool changed = false;
    for (size_t at = 0; at < s.size();) {
      for (const size_t end = at + plain_run(s, at); at < end; ++at) chars.push_back({static_cast<char32_t>(s[at]), 0});
      if (at >= s.size()) break;
      const size_t n = grapheme_length(s, at);
      changed |= apply_to_grapheme(s.substr(at, n), chars);
      at += n;
    }
    if (changed) text.transform(chars);
  }

 private:
  // The replacement of what `text` starts with.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view text) const {
    const auto at = trie_.shortest_prefix(text);
    if (!at || *at >= replacements_.size()) return std::nullopt;
    return std::string_view(replacements_.c_str() + *at);
  }

  // Characters from `at` on that stay as they are and make graphemes of their own.
  [[nodiscard]] size_t plain_run(std::string_view s, size_t at) const {
    size_t end = at;
    while (end < s.size() && static_cast<uint8_t>(s[end]) < 0x80 && plain_[static_cast<uint8_t>(s[end])]) ++end;
    // The last one may begin a grapheme with what follows.
    if (end > at && end < s.size() && static_cast<uint8_t>(s[end]) >= 0x80) --end;
    return end - at;
  }

  // A grapheme of five bytes or fewer is looked up as a whole first; only the shortest key counts, and it replaces everything. So does the
  // library that these files are written for.
  bool apply_to_grapheme(std::string_view grapheme, std::vector<ChangedChar>& out) const {
    if (grapheme.size() < 6) {
      if (const auto to = find(grapheme)) {
        replace(grapheme, *to, out);
        return true;
      }
    }
    bool changed = false;
    for (size_t i = 0; i < grapheme.size();) {
      const CodePoint c = decode_code_point(grapheme, i);
      if (const auto to = find(grapheme.substr(i, c.length))) {
        replace(grapheme.substr(i, c.length), *to, out);
        changed = true;
      } else {
        out.push_back({c.value, 0});
      }
      i += c.length;
    }
    return changed;
  }

  // New characters in excess stand behind the last one; characters that vanish go with the last one before them. Where there is none they
  // are not accounted for, as in the library, and all offsets are shifted.
  static void replace(std::string_view from, std::string_view to, std::vector<ChangedChar>& out) {
    size_t old_count = 0, i = 0;
    for (size_t at = 0; at < from.size(); ++old_count) at += decode_code_point(from, at).length;
    for (size_t at = 0; at < to.size(); ++i) {
      const CodePoint c = decode_code_point(to, at);
      out.push_back({c.value, i < old_count ? 0 : 1});
      at += c.length;
    }
    if (i < old_count && !out.empty()) out.back().change -= static_cast<int32_t>(old_count - i);
  }

  DoubleArray trie_;
  std::string replacements_;
  bool plain_[128] = {};
};

}  // namespace

std::unique_ptr<Normalizer> make_precompiled(const Field& base64) {
  const auto bytes = decode_base64(base64.string());
  if (!bytes) base64.fail("not valid base64");
  if (bytes->empty()) return nullptr;
  uint32_t trie_bytes = 0;
  if (bytes->size() < 4) base64.fail("the character map is truncated: it has " + std::to_string(bytes->size()) + " bytes");
  std::memcpy(&trie_bytes, bytes->data(), 4);
  if (trie_bytes > bytes->size() - 4 || trie_bytes % 4 != 0)
    base64.fail("the character map is damaged: its trie would take " + std::to_string(trie_bytes) + " of " + std::to_string(bytes->size()) +
                " bytes");
  std::string replacements = bytes->substr(4 + trie_bytes);
  for (size_t at = 0; at < replacements.size();) {
    const CodePoint c = decode_code_point(replacements, at);
    if (!c.valid) base64.fail("the character map is damaged: its replacements are not UTF-8");
    at += c.length;
  }
  return std::make_unique<Precompiled>(DoubleArray(std::string_view(*bytes).substr(4, trie_bytes)), std::move(replacements));
}

}  // namespace nemo::text::hf

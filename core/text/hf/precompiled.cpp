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
    Rewriter out(text);
    bool changed = false;
    for (size_t at = 0; at < s.size();) {
      const size_t run = plain_run(s, at);
      out.keep(at, at + run);
      at += run;
      if (at >= s.size()) break;
      const size_t n = grapheme_length(s, at);
      changed |= apply_to_grapheme(s, at, n, out);
      at += n;
    }
    if (changed) out.finish();
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
  bool apply_to_grapheme(std::string_view s, size_t at, size_t n, Rewriter& out) const {
    if (n < 6) {
      if (const auto to = find(s.substr(at, n))) {
        replace(s, at, n, *to, out);
        return true;
      }
    }
    bool changed = false;
    for (size_t i = at; i < at + n;) {
      const size_t length = decode_code_point(s, i).length;
      if (const auto to = find(s.substr(i, length))) {
        replace(s, i, length, *to, out);
        changed = true;
      } else {
        out.keep(i, i + length);
      }
      i += length;
    }
    return changed;
  }

  // Character i of the replacement stands for character i of what it replaces; those in excess stand for the last one.
  static void replace(std::string_view s, size_t at, size_t n, std::string_view to, Rewriter& out) {
    size_t source = at;
    for (size_t i = 0; i < to.size();) {
      const size_t length = decode_code_point(to, i).length;
      out.put(to.substr(i, length), source < at + n ? source : at + n - 1);
      if (source < at + n) source += decode_code_point(s, source).length;
      i += length;
    }
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

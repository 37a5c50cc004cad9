#include "core/text/hf/added_tokens.hpp"

#include <algorithm>
#include <cstring>

#include "core/text/unicode.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

// The code point that ends at `end`; requires end > 0.
char32_t last_character(std::string_view s, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(s[at]) & 0xC0) == 0x80) --at;
  return decode_code_point(s, at).value;
}

size_t start_of_spaces(std::string_view s, size_t end) {
  while (end > 0 && is_white_space(last_character(s, end))) {
    --end;
    while (end > 0 && (static_cast<uint8_t>(s[end]) & 0xC0) == 0x80) --end;
  }
  return end;
}

size_t end_of_spaces(std::string_view s, size_t at) {
  while (at < s.size()) {
    const CodePoint c = decode_code_point(s, at);
    if (!is_white_space(c.value)) break;
    at += c.length;
  }
  return at;
}

bool within_word(std::string_view s, Span span) {
  const bool before = span.begin > 0 && is_word(last_character(s, span.begin));
  const bool behind = span.end < s.size() && is_word(decode_code_point(s, span.end).value);
  return before || behind;
}

}  // namespace

void TokenFinder::add(std::string_view text, size_t index) {
  if (text.empty()) return;
  empty_ = false;
  if (!starts_[static_cast<uint8_t>(text[0])]) ++starts_count_;
  starts_[static_cast<uint8_t>(text[0])] = true;
  only_start_ = text[0];
  bool known = false;
  trie_.prefixes(text, [&](size_t length, int32_t) { known |= length == text.size(); });
  if (!known) trie_.add(text, static_cast<int32_t>(index));
}

bool TokenFinder::find(std::string_view text, size_t from, Span& found, size_t& index) const {
  if (empty_) return false;
  for (size_t at = from; at < text.size(); ++at) {
    if (starts_count_ == 1) {
      const void* next = std::memchr(text.data() + at, only_start_, text.size() - at);
      if (next == nullptr) return false;
      at = static_cast<size_t>(static_cast<const char*>(next) - text.data());
    } else if (!starts_[static_cast<uint8_t>(text[at])]) {
      continue;
    }
    size_t longest = 0;
    trie_.prefixes(text.substr(at), [&](size_t length, int32_t value) {
      longest = length;
      index = static_cast<size_t>(value);
    });
    if (longest == 0) continue;
    found = {static_cast<uint32_t>(at), static_cast<uint32_t>(at + longest)};
    return true;
  }
  return false;
}

AddedTokens::AddedTokens(const Field& list, const Vocabulary& model, const Normalizer* normalizer) {
  if (!list.is_null()) read(list, model, normalizer);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (by_id_.at(tokens_[i].id) != i) continue;  // another token took its place
    (tokens_[i].normalized ? normalized_ : original_).add(tokens_[i].searched, i);
  }
}

void AddedTokens::read(const Field& list, const Vocabulary& model, const Normalizer* normalizer) {
  int64_t next = model.count();
  for (const Field& f : list.items()) {
    AddedToken t;
    t.content = f.at("content").string();
    (void)f.at("id").integer_between(0, (1 << 24) - 1);
    t.single_word = f.boolean_or("single_word", false);
    t.strip_left = f.boolean_or("lstrip", false);
    t.strip_right = f.boolean_or("rstrip", false);
    t.special = f.boolean_or("special", false);
    t.normalized = f.boolean_or("normalized", !t.special);
    if (t.content.empty()) continue;
    t.id = find(t.content);
    if (t.id < 0) t.id = model.find(t.content);
    if (t.id < 0) t.id = static_cast<int32_t>(next++);
    t.searched = t.normalized && normalizer != nullptr ? normalizer->apply_to(t.content) : t.content;
    end_id_ = std::max<int64_t>(end_id_, t.id + 1);
    by_id_[t.id] = tokens_.size();
    by_content_[t.content] = tokens_.size();
    tokens_.push_back(std::move(t));
  }
}

const AddedToken* AddedTokens::by_id(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

int32_t AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? -1 : tokens_[found->second].id;
}

bool AddedTokens::is_special(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found != by_content_.end() && tokens_[found->second].special;
}

void AddedTokens::cut(std::string_view text, Text kind, std::vector<TokenPart>& parts) const {
  const TokenFinder& finder = kind == Text::kOriginal ? original_ : normalized_;
  uint32_t done = 0;
  Span found;
  size_t index = 0;
  for (size_t from = 0; finder.find(text, from, found, index);) {
    from = found.end;
    const AddedToken& t = tokens_[index];
    if (t.single_word && within_word(text, found)) continue;
    if (t.strip_left) found.begin = std::max(static_cast<uint32_t>(start_of_spaces(text, found.begin)), done);
    if (t.strip_right) found.end = static_cast<uint32_t>(end_of_spaces(text, found.end));
    if (done < found.begin) parts.push_back({{done, found.begin}, -1});
    parts.push_back({found, static_cast<int32_t>(index)});
    done = found.end;
  }
  if (done < text.size()) parts.push_back({{done, static_cast<uint32_t>(text.size())}, -1});
}

}  // namespace nemo::text::hf

// core/text/hf/added_tokens.hpp - tokens that are found in text before anything else: special tokens, and others added to a vocabulary.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/text/hf/byte_trie.hpp"
#include "core/text/hf/model.hpp"
#include "core/text/hf/normalizers.hpp"

namespace nemo::text::hf {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  std::string searched;  // what is searched for: the content, normalized where `normalized` says so
  bool single_word = false, strip_left = false, strip_right = false, normalized = false, special = false;
};

// Finds the leftmost, longest of a set of strings. Immutable once filled; any thread.
class TokenFinder {
 public:
  void add(std::string_view text, size_t index);
  [[nodiscard]] bool empty() const { return empty_; }
  // The first occurrence at or behind `from`.
  [[nodiscard]] bool find(std::string_view text, size_t from, Span& found, size_t& index) const;

 private:
  bool empty_ = true;
  std::array<bool, 256> starts_{};
  char only_start_ = 0;
  int starts_count_ = 0;
  ByteTrie trie_;
};

// A part of a text: an added token (`token` is its index) or what lies between (-1). May overlap only where tokens strip spaces.
struct TokenPart {
  Span span;
  int32_t token;
};

// Immutable after construction; any thread.
class AddedTokens {
 public:
  // The "added_tokens" list. Tokens that the model's vocabulary has keep its id; the others follow in order behind the model's vocabulary,
  // as in the library, which does not read their "id". Throws Error(kDataLoss) for bad fields.
  AddedTokens(const Field& list, const Vocabulary& model, const Normalizer* normalizer);

  [[nodiscard]] const std::vector<AddedToken>& tokens() const { return tokens_; }
  [[nodiscard]] const AddedToken* by_id(int64_t id) const;
  [[nodiscard]] int32_t find(std::string_view content) const;  // id, -1: none
  [[nodiscard]] bool is_special(std::string_view content) const;
  [[nodiscard]] int64_t end_id() const { return end_id_; }

  enum class Text { kOriginal, kNormalized };
  // Cuts a text at the tokens that are searched in it; appends parts in order.
  void cut(std::string_view text, Text kind, std::vector<TokenPart>& parts) const;
  [[nodiscard]] bool any(Text kind) const { return !(kind == Text::kOriginal ? original_ : normalized_).empty(); }

 private:
  void read(const Field& list, const Vocabulary& model, const Normalizer* normalizer);

  std::vector<AddedToken> tokens_;
  std::unordered_map<int64_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  int64_t end_id_ = 0;
  TokenFinder original_, normalized_;
};

}  // namespace nemo::text::hf

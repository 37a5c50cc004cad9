// core/text/hf/model.hpp - the "model" of a tokenizer.json: turns a piece of text into tokens.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/text/hf/fields.hpp"

namespace nemo::text::hf {

struct Token {
  int32_t id;
  uint32_t begin, end;  // bytes of the piece
};

// Token strings and their ids. Immutable once filled.
class Vocabulary {
 public:
  // {"token": id, ...}; ids may have gaps. Throws Error(kDataLoss) naming the token at fault.
  void read(const Field& object);
  void add(std::string token, int64_t id, const Field& where);

  [[nodiscard]] int32_t find(std::string_view token) const {  // -1: not there
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  // nullptr: no such id.
  [[nodiscard]] const std::string* token(int64_t id) const;
  [[nodiscard]] int64_t count() const { return static_cast<int64_t>(ids_.size()); }      // of token strings
  [[nodiscard]] int64_t end_id() const { return static_cast<int64_t>(tokens_.size()); }  // greatest id + 1
  template <class F>
  void for_each(F&& f) const {
    for (size_t i = 0; i < tokens_.size(); ++i)
      if (tokens_[i]) f(static_cast<int32_t>(i), *tokens_[i]);
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::vector<std::optional<std::string>> tokens_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
};

// Immutable after construction; any thread.
class Model {
 public:
  virtual ~Model() = default;
  // Appends the tokens of a non-empty piece. Throws Error(kDataLoss) for text that the vocabulary cannot express.
  virtual void encode(std::string_view piece, std::vector<Token>& out) const = 0;
  // The length of a non-empty front of `piece` that can be encoded by itself: its tokens, then those of the rest, are those of the whole.
  [[nodiscard]] virtual size_t independent_front(std::string_view piece) const { return piece.size(); }
  // What the token is called in an encoding.
  [[nodiscard]] virtual std::string token_text(const Token& token, std::string_view piece) const;
  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

enum class PieceBytes { kSpelled, kRaw };

// BPE, Unigram, WordPiece, WordLevel. kRaw: pieces are bytes although the vocabulary is spelled in the byte alphabet; see can_read_raw.
// Throws Error(kUnsupported) for other types and for BPE dropout, Error(kDataLoss) for bad fields.
[[nodiscard]] std::unique_ptr<Model> make_model(const Field& field, PieceBytes bytes);

// Whether the model is a BPE that gives the same tokens for raw bytes as for their spelling.
[[nodiscard]] bool can_read_raw(const Field& field);

[[nodiscard]] std::unique_ptr<Model> make_bpe(const Field& field, PieceBytes bytes);
[[nodiscard]] std::unique_ptr<Model> make_unigram(const Field& field);
[[nodiscard]] std::unique_ptr<Model> make_word_piece(const Field& field);
[[nodiscard]] std::unique_ptr<Model> make_word_level(const Field& field);

// Ids of "<0x00>" to "<0xFF>"; -1 where the vocabulary lacks one.
[[nodiscard]] std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary);

}  // namespace nemo::text::hf

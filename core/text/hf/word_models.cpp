#include <algorithm>

#include "core/base/error.hpp"
#include "core/text/hf/model.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

// The unknown token is only needed once a word is unknown.
class UnknownToken {
 public:
  UnknownToken(const Field& f, const Vocabulary& vocabulary, std::string_view otherwise)
      : name_(f.string_or("unk_token", otherwise)), where_(f.path()), id_(vocabulary.find(name_)) {}
  [[nodiscard]] int32_t id(std::string_view word) const {
    if (id_ < 0)
      throw Error(Code::kDataLoss, where_ + ": the word \"" + std::string(word.substr(0, 64)) +
                                       "\" is not in the vocabulary, and neither is unk_token \"" + name_ + "\"");
    return id_;
  }

 private:
  std::string name_, where_;
  int32_t id_;
};

// The longest token first, then the longest continuation (Wu et al., arXiv:1609.08144, as in BERT).
class WordPiece final : public Model {
 public:
  explicit WordPiece(const Field& f)
      : prefix_(f.string_or("continuing_subword_prefix", "##")), longest_word_(f.integer_or("max_input_chars_per_word", 100)) {
    vocabulary_.read(f.at("vocab"));
    unknown_ = std::make_unique<UnknownToken>(f, vocabulary_, "[UNK]");
    vocabulary_.for_each([this](int32_t, const std::string& token) { longest_token_ = std::max(longest_token_, token.size()); });
  }

  void encode(std::string_view piece, std::vector<Token>& out) const override {
    const size_t first = out.size();
    if (count_characters(piece) <= longest_word_ && encode_known(piece, out)) return;
    out.resize(first);
    out.push_back({unknown_->id(piece), 0, static_cast<uint32_t>(piece.size())});
  }

 private:
  static int64_t count_characters(std::string_view s) {
    return std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
  }

  bool encode_known(std::string_view piece, std::vector<Token>& out) const {
    thread_local std::string written;
    for (size_t begin = 0; begin < piece.size();) {
      written.assign(begin > 0 ? prefix_ : "");
      const size_t head = written.size();
      size_t end = std::min(piece.size(), begin + longest_token_);
      written += piece.substr(begin, end - begin);
      int32_t id = -1;
      while (end > begin && (id = vocabulary_.find(written)) < 0) {
        --end;
        while (end > begin && (static_cast<uint8_t>(piece[end]) & 0xC0) == 0x80) --end;
        written.resize(head + (end - begin));
      }
      if (id < 0 || end == begin) return false;
      out.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
      begin = end;
    }
    return true;
  }

  std::string prefix_;
  int64_t longest_word_;
  size_t longest_token_ = 0;
  std::unique_ptr<UnknownToken> unknown_;
};

class WordLevel final : public Model {
 public:
  explicit WordLevel(const Field& f) {
    vocabulary_.read(f.at("vocab"));
    unknown_ = std::make_unique<UnknownToken>(f, vocabulary_, "<unk>");
  }
  void encode(std::string_view piece, std::vector<Token>& out) const override {
    const int32_t id = vocabulary_.find(piece);
    out.push_back({id >= 0 ? id : unknown_->id(piece), 0, static_cast<uint32_t>(piece.size())});
  }

 private:
  std::unique_ptr<UnknownToken> unknown_;
};

}  // namespace

std::unique_ptr<Model> make_word_piece(const Field& field) { return std::make_unique<WordPiece>(field); }
std::unique_ptr<Model> make_word_level(const Field& field) { return std::make_unique<WordLevel>(field); }

}  // namespace nemo::text::hf

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.hpp"
#include "core/text/hf/byte_trie.hpp"
#include "core/text/hf/model.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

constexpr double kUnknownPenalty = 10.0;

// The most probable segmentation under a unigram language model (Kudo, arXiv:1804.10959), by Viterbi's algorithm.
class Unigram final : public Model {
 public:
  explicit Unigram(const Field& f) {
    const Field vocab = f.at("vocab");
    if (!vocab.json().is_array()) vocab.fail("a list [[token, score], ...] belongs here, found " + std::string(vocab.json().type_name()));
    for (size_t i = 0; i < vocab.json().size(); ++i) add(vocab, i);
    if (scores_.empty()) vocab.fail("the vocabulary is empty");
    if (f.has("unk_id")) unknown_ = static_cast<int32_t>(f.at("unk_id").integer_between(0, static_cast<int64_t>(scores_.size()) - 1));
    if (f.boolean_or("byte_fallback", false)) fallback_ = byte_token_ids(vocabulary_);
    where_ = f.path();
  }

  void encode(std::string_view piece, std::vector<Token>& out) const override {
    thread_local std::vector<Node> best;
    best.assign(piece.size() + 1, {});
    find_best(piece, best);
    const size_t first = out.size();
    bool unknown_before = false;
    for (size_t end = piece.size(); end > 0;) {  // from the back; neighbouring unknown pieces become one
      const Node& node = best[end];
      const bool unknown = node.id == unknown_;
      if (unknown && unknown_before)
        out.back().begin = node.begin;
      else
        out.push_back({node.id, node.begin, static_cast<uint32_t>(end)});
      unknown_before = unknown;
      end = node.begin;
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
    resolve_unknown(piece, out, first);
  }

  // An unknown stretch keeps its own text.
  [[nodiscard]] std::string token_text(const Token& token, std::string_view piece) const override {
    if (token.id != unknown_) return Model::token_text(token, piece);
    return std::string(piece.substr(token.begin, token.end - token.begin));
  }

 private:
  struct Node {
    double score = 0;
    int32_t id = -1;
    uint32_t begin = 0;
  };

  void add(const Field& vocab, size_t i) {
    const auto& row = vocab.json()[i];
    if (!row.is_array() || row.size() != 2 || !row[0].is_string() || !row[1].is_number())
      vocab.fail("entry " + std::to_string(i) + " is not [token, score]: " + row.dump(-1, ' ', true));
    const double score = row[1].get<double>();
    if (!std::isfinite(score)) vocab.fail("entry " + std::to_string(i) + " has a score that is no finite number");
    const auto& token = row[0].get_ref<const std::string&>();
    scores_.push_back(score);
    lowest_ = std::min(lowest_, score);
    vocabulary_.add(token, static_cast<int64_t>(i), vocab);
    if (!token.empty()) trie_.add(token, static_cast<int32_t>(i));
  }

  void find_best(std::string_view piece, std::vector<Node>& best) const {
    for (size_t at = 0; at < piece.size();) {
      const double here = best[at].score;
      const size_t character = decode_code_point(piece, at).length;
      bool known = false;
      const auto offer = [&](size_t length, int32_t id, double score) {
        Node& node = best[at + length];
        if (node.id < 0 || score > node.score) node = {score, id, static_cast<uint32_t>(at)};
      };
      trie_.prefixes(piece.substr(at), [&](size_t length, int32_t id) {
        offer(length, id, scores_[static_cast<size_t>(id)] + here);
        known |= length == character;
      });
      if (!known) {
        if (unknown_ < 0)
          throw Error(Code::kDataLoss, where_ + ": the text has the character " + describe_code_point(decode_code_point(piece, at).value) +
                                           ", which the vocabulary cannot express, and the model has no unk_id");
        offer(character, unknown_, lowest_ - kUnknownPenalty + here);
      }
      at += character;
    }
  }

  // A stretch of unknown characters may happen to be a token; else it becomes bytes, or stays unknown.
  void resolve_unknown(std::string_view piece, std::vector<Token>& out, size_t first) const {
    bool any = false;
    for (size_t i = first; i < out.size(); ++i) any |= out[i].id == unknown_;
    if (!any) return;
    std::vector<Token> resolved;
    for (size_t i = first; i < out.size(); ++i) {
      const Token t = out[i];
      const std::string_view text = piece.substr(t.begin, t.end - t.begin);
      const int32_t id = t.id == unknown_ ? vocabulary_.find(text) : t.id;
      if (id >= 0)
        resolved.push_back({id, t.begin, t.end});
      else if (!fall_back(text, t, resolved))
        resolved.push_back(t);
    }
    out.resize(first);
    out.insert(out.end(), resolved.begin(), resolved.end());
  }

  bool fall_back(std::string_view text, Token t, std::vector<Token>& out) const {
    if (fallback_.empty()) return false;
    for (const char c : text)
      if (fallback_[static_cast<uint8_t>(c)] < 0) return false;
    for (const char c : text) out.push_back({fallback_[static_cast<uint8_t>(c)], t.begin, t.end});
    return true;
  }

  std::vector<double> scores_;
  double lowest_ = std::numeric_limits<double>::infinity();
  ByteTrie trie_;
  int32_t unknown_ = -2;  // unlike any id
  std::vector<int32_t> fallback_;
  std::string where_;
};

}  // namespace

std::unique_ptr<Model> make_unigram(const Field& field) { return std::make_unique<Unigram>(field); }

}  // namespace nemo::text::hf

#include <algorithm>
#include <unordered_set>

#include "core/text/hf/byte_alphabet.hpp"
#include "core/text/hf/model.hpp"
#include "core/text/hf/pair_merger.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

class Bpe final : public Model {
 public:
  Bpe(const Field& f, PieceBytes bytes)
      : raw_(bytes == PieceBytes::kRaw),
        prefix_(f.string_or("continuing_subword_prefix", "")),
        suffix_(f.string_or("end_of_word_suffix", "")),
        fuse_unknown_(f.boolean_or("fuse_unk", false)),
        whole_words_(f.boolean_or("ignore_merges", false)) {
    refuse_dropout(f);
    vocabulary_.read(f.at("vocab"));
    const std::string unknown = f.string_or("unk_token", "");
    if (!unknown.empty()) unknown_ = vocabulary_.find(unknown);
    if (!unknown.empty() && unknown_ < 0) f.at("unk_token").fail("the unknown token \"" + unknown + "\" is not in the vocabulary");
    if (f.boolean_or("byte_fallback", false)) fallback_ = byte_token_ids(vocabulary_);
    read_merges(f.at("merges"));
    index_characters();
  }

  void encode(std::string_view piece, std::vector<Token>& out) const override {
    if (whole_words_) {
      const int32_t id = find_word(piece);
      if (id >= 0) {
        out.push_back({id, 0, static_cast<uint32_t>(piece.size())});
        return;
      }
    }
    thread_local std::vector<Symbol> symbols;
    symbols.clear();
    if (raw_)
      read_bytes(piece, symbols);
    else
      read_characters(piece, symbols);
    merger_.merge(symbols);
    uint32_t at = 0;
    for (const Symbol& s : symbols) {
      out.push_back({s.id, at, at + s.length});
      at += s.length;
    }
  }

  // Between two known characters that stand side by side in no result of a merge, no merge ever crosses.
  [[nodiscard]] size_t independent_front(std::string_view piece) const override {
    if (adjacent_.empty() || piece.size() < 2) return piece.size();
    CodePoint left = decode_code_point(piece, 0);
    for (size_t at = left.length; at < piece.size();) {
      const CodePoint right = decode_code_point(piece, at);
      if (!adjacent(left.value, right.value) && known(left.value) && known(right.value)) return at;
      at += right.length;
      left = right;
    }
    return piece.size();
  }

 private:
  static void refuse_dropout(const Field& f) {
    if (!f.has("dropout")) return;
    const auto& dropout = f.at("dropout").json();
    if (!dropout.is_number()) f.at("dropout").fail("a number or null belongs here, found " + std::string(dropout.type_name()));
    if (dropout.get<double>() != 0) f.at("dropout").unsupported("BPE dropout makes encoding random and is not supported; set it to null");
  }

  [[nodiscard]] int32_t find_word(std::string_view piece) const {
    if (!raw_) return vocabulary_.find(piece);
    const auto found = words_.find(piece);
    return found == words_.end() ? -1 : found->second;
  }

  void read_merges(const Field& merges) {
    if (!merges.json().is_array()) merges.fail("a list belongs here, found " + std::string(merges.json().type_name()));
    merger_.reserve(merges.json().size());
    std::string result;
    for (size_t i = 0; i < merges.json().size(); ++i) {
      const auto& m = merges.json()[i];
      std::string_view left, right;
      split_merge(m, i, merges, left, right);
      if (right.size() < prefix_.size())
        bad_merge(merges, i, "its right side \"" + std::string(right) + "\" is shorter than the continuing_subword_prefix");
      result.assign(left);
      result += right.substr(prefix_.size());
      const int32_t left_id = id_of(left, "left side", i, merges), right_id = id_of(right, "right side", i, merges);
      merger_.add(left_id, right_id, static_cast<int32_t>(i), id_of(result, "result", i, merges));
      results_.push_back(result);
    }
  }

  [[noreturn]] static void bad_merge(const Field& merges, size_t i, const std::string& what) {
    merges.fail("merge " + std::to_string(i) + ": " + what);
  }

  static void split_merge(const nlohmann::json& m, size_t i, const Field& merges, std::string_view& left, std::string_view& right) {
    if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
      left = m[0].get_ref<const std::string&>();
      right = m[1].get_ref<const std::string&>();
      return;
    }
    if (!m.is_string()) bad_merge(merges, i, "a merge is \"left right\" or [\"left\", \"right\"], found " + m.dump());
    const std::string_view text = m.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
      bad_merge(merges, i, "a merge is two tokens with one space between them, found \"" + std::string(text) + "\"");
    left = text.substr(0, space);
    right = text.substr(space + 1);
  }

  [[nodiscard]] int32_t id_of(std::string_view token, const char* what, size_t i, const Field& merges) const {
    const int32_t id = vocabulary_.find(token);
    if (id < 0) bad_merge(merges, i, "its " + std::string(what) + " \"" + std::string(token) + "\" is not in the vocabulary");
    return id;
  }

  void index_characters() {
    byte_ids_.assign(256, -1);
    for (unsigned b = 0; b < 256 && raw_; ++b) byte_ids_[b] = vocabulary_.find(byte_alphabet()[b]);
    std::string bytes;
    vocabulary_.for_each([&](int32_t id, const std::string& token) {
      bytes.clear();
      if (raw_ && whole_words_ && read_byte_alphabet(token, bytes)) words_.emplace(bytes, id);
      if (raw_ || token.empty()) return;
      const CodePoint c = decode_code_point(token, 0);
      if (c.length == token.size()) characters_.emplace(c.value, id);
    });
    if (!raw_ && prefix_.empty() && suffix_.empty() && !whole_words_) index_adjacent();
    results_.clear();
    results_.shrink_to_fit();
  }

  // Leaves adjacent_ empty where merges may join what stands for unknown characters.
  void index_adjacent() {
    for (const std::string& result : results_) {
      if (result.find("<0x") != std::string::npos || (unknown_ >= 0 && result.find(*vocabulary_.token(unknown_)) != std::string::npos)) {
        adjacent_.clear();
        return;
      }
      char32_t left = 0;
      for (size_t at = 0; at < result.size();) {
        const CodePoint c = decode_code_point(result, at);
        if (at > 0) adjacent_.insert(static_cast<uint64_t>(left) << 32 | c.value);
        left = c.value;
        at += c.length;
      }
    }
    for (const uint64_t pair : adjacent_)
      if (pair >> 32 < 128 && (pair & 0xFFFFFFFFu) < 128) ascii_adjacent_[pair >> 32][pair & 127] = true;
  }
  [[nodiscard]] bool adjacent(char32_t left, char32_t right) const {
    if (left < 128 && right < 128) return ascii_adjacent_[left][right];
    return adjacent_.contains(static_cast<uint64_t>(left) << 32 | right);
  }
  [[nodiscard]] bool known(char32_t c) const { return characters_.contains(c); }

  void read_bytes(std::string_view piece, std::vector<Symbol>& symbols) const {
    Pending unknown;
    for (const char c : piece) {
      const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
      if (id >= 0) {
        flush(unknown, symbols);
        symbols.push_back({id, 1});
      } else {
        add_unknown(1, unknown, symbols);
      }
    }
    flush(unknown, symbols);
  }

  void read_characters(std::string_view piece, std::vector<Symbol>& symbols) const {
    Pending unknown;
    for (size_t at = 0; at < piece.size();) {
      const CodePoint c = decode_code_point(piece, at);
      const int32_t id = prefix_.empty() && suffix_.empty() ? find_character(c.value) : find_affixed(piece, at, c.length);
      if (id >= 0) {
        flush(unknown, symbols);
        symbols.push_back({id, c.length});
      } else if (!fall_back(piece.substr(at, c.length), symbols)) {
        add_unknown(c.length, unknown, symbols);
      }
      at += c.length;
    }
    flush(unknown, symbols);
  }

  [[nodiscard]] int32_t find_character(char32_t c) const {
    const auto found = characters_.find(c);
    return found == characters_.end() ? -1 : found->second;
  }

  [[nodiscard]] int32_t find_affixed(std::string_view piece, size_t at, size_t length) const {
    std::string written = at > 0 ? prefix_ : "";
    written += piece.substr(at, length);
    if (at + length == piece.size()) written += suffix_;
    return vocabulary_.find(written);
  }

  // Bytes for a character, where the vocabulary has all of them. Unknown characters that wait to be fused are not touched by it.
  bool fall_back(std::string_view character, std::vector<Symbol>& symbols) const {
    if (fallback_.empty()) return false;
    for (const char c : character)
      if (fallback_[static_cast<uint8_t>(c)] < 0) return false;
    for (const char c : character) symbols.push_back({fallback_[static_cast<uint8_t>(c)], 1});
    return true;
  }

  struct Pending {
    uint32_t length = 0;
  };
  void flush(Pending& unknown, std::vector<Symbol>& symbols) const {
    if (unknown.length > 0) symbols.push_back({unknown_, unknown.length});
    unknown.length = 0;
  }
  // Without an unknown token the character vanishes, as it does in the library.
  void add_unknown(uint32_t length, Pending& unknown, std::vector<Symbol>& symbols) const {
    if (unknown_ < 0) return;
    if (!fuse_unknown_) flush(unknown, symbols);
    unknown.length += length;
  }

  bool raw_;
  std::string prefix_, suffix_;
  bool fuse_unknown_, whole_words_;
  int32_t unknown_ = -1;
  std::vector<int32_t> fallback_, byte_ids_;
  PairMerger merger_;
  std::vector<std::string> results_;  // of merges, while reading
  std::unordered_map<char32_t, int32_t> characters_;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> words_;  // raw, with ignore_merges
  std::unordered_set<uint64_t> adjacent_;
  bool ascii_adjacent_[128][128] = {};
};

}  // namespace

std::unique_ptr<Model> make_bpe(const Field& field, PieceBytes bytes) { return std::make_unique<Bpe>(field, bytes); }

}  // namespace nemo::text::hf

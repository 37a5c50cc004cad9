#include "core/text/char_tokenizer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/text/id_buffer.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

constexpr char32_t kLowEnd = 0x800;
constexpr size_t kCodeSpace = 0x110000;

[[noreturn]] void throw_not_utf8(const std::string& what, size_t offset) {
  throw Error(Code::kDataLoss,
              what + ": byte " + std::to_string(offset) + " is not UTF-8; convert the text, or use the byte or gpt2 tokenizer");
}

// Marks the characters of a text that comes in pieces, which may cut characters apart.
class CharacterSet {
 public:
  void add(std::string_view piece) {
    if (rest_.empty()) {
      scan(piece);
      return;
    }
    std::string joined = std::move(rest_) + std::string(piece);
    rest_.clear();
    scan(joined);
  }
  std::vector<char32_t> finish() {
    if (!rest_.empty()) throw_not_utf8("corpus of the char tokenizer", offset_);
    std::vector<char32_t> out;
    for (size_t c = 0; c < kCodeSpace; ++c)
      if (seen_[c]) out.push_back(static_cast<char32_t>(c));
    return out;
  }

 private:
  void scan(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
      const CodePoint c = decode_code_point(text, at);
      if (c.cut_off) {
        rest_ = text.substr(at);
        return;
      }
      if (!c.valid) throw_not_utf8("corpus of the char tokenizer", offset_);
      seen_[c.value] = true;
      at += c.length;
      offset_ += c.length;
    }
  }
  std::vector<bool> seen_ = std::vector<bool>(kCodeSpace);
  std::string rest_;
  size_t offset_ = 0;
};

}  // namespace

CharTokenizer::CharTokenizer(std::vector<char32_t> code_points, std::string_view where)
    : code_points_(std::move(code_points)), low_ids_(kLowEnd, -1) {
  for (size_t i = 0; i < code_points_.size(); ++i) {
    const char32_t c = code_points_[i];
    if (c >= kCodeSpace || (i > 0 && c <= code_points_[i - 1]))
      throw Error(Code::kDataLoss, std::string(where) + ": code_points[" + std::to_string(i) + "] is out of order or no Unicode character");
    if (c < kLowEnd)
      low_ids_[c] = static_cast<int32_t>(i);
    else
      high_ids_[c] = static_cast<int32_t>(i);
  }
}

std::unique_ptr<CharTokenizer> CharTokenizer::learn(const Corpus& corpus) {
  CharacterSet characters;
  corpus([&](std::string_view piece) { characters.add(piece); });
  std::vector<char32_t> code_points = characters.finish();
  if (code_points.empty()) throw Error(Code::kNotFound, "the char tokenizer learns its vocabulary from the training text, which is empty");
  return std::make_unique<CharTokenizer>(std::move(code_points), "corpus");
}

int32_t CharTokenizer::find(char32_t value) const {
  if (value < kLowEnd) return low_ids_[value];
  const auto found = high_ids_.find(value);
  return found == high_ids_.end() ? -1 : found->second;
}

void CharTokenizer::encode_to(std::string_view text, const IdSink& ids) const {
  IdBuffer buffer(ids);
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_code_point(text, at);
    if (!c.valid) throw_not_utf8("char tokenizer", at);
    const int32_t id = find(c.value);
    if (id < 0)
      throw Error(Code::kDataLoss, "char tokenizer: character " + describe_code_point(c.value) + " at byte " + std::to_string(at) +
                                       " is not among the " + std::to_string(code_points_.size()) +
                                       " that the training text has; leave it out, or use the byte or gpt2 tokenizer");
    buffer.push(id);
    at += c.length;
  }
  buffer.flush();
}

std::string CharTokenizer::decode_bytes(std::span<const int32_t> ids) const {
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) throw_bad_id(ids[i], i);
    append_code_point(out, code_points_[static_cast<size_t>(ids[i])]);
  }
  return out;
}

std::vector<TokenizerFile> CharTokenizer::files() const {
  const std::vector<uint32_t> numbers(code_points_.begin(), code_points_.end());
  return {{std::string(kTokenizerFile), nlohmann::json{{"type", "char"}, {"code_points", numbers}}.dump()}};
}

}  // namespace nemo::text

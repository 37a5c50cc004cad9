#include "core/text/hf/pre_tokenizers.hpp"

#include <algorithm>

#include "core/text/hf/byte_alphabet.hpp"
#include "core/text/hf/patterns.hpp"
#include "core/text/hf/split.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

uint32_t at32(size_t n) { return static_cast<uint32_t>(n); }

// Cuts every piece into parts by `cut(text, part)`, which calls part(begin, end, is_delimiter), and joins them by the behaviour.
template <class Cut>
void cut_pieces(const AlignedText& text, std::vector<Span>& pieces, SplitBehavior behavior, Cut&& cut) {
  std::vector<Span> out;
  out.reserve(pieces.size() + text.view().size() / 4);
  std::vector<Part> parts;
  for (const Span piece : pieces) {
    const std::string_view s = text.view().substr(piece.begin, piece.end - piece.begin);
    if (behavior == SplitBehavior::kIsolated) {
      cut(s, [&](size_t begin, size_t end, bool) {
        if (begin < end) out.push_back({piece.begin + at32(begin), piece.begin + at32(end)});
      });
      continue;
    }
    parts.clear();
    cut(s, [&](size_t begin, size_t end, bool delimiter) {
      parts.push_back({{piece.begin + at32(begin), piece.begin + at32(end)}, delimiter});
    });
    join_parts(parts, behavior, out);
  }
  pieces.swap(out);
}

// Each character for which `delimiter` holds is a part of its own.
template <class Delimiter>
void cut_at_characters(const AlignedText& text, std::vector<Span>& pieces, SplitBehavior behavior, Delimiter&& delimiter) {
  cut_pieces(text, pieces, behavior, [&](std::string_view s, auto&& part) {
    size_t done = 0;
    for (size_t at = 0; at < s.size();) {
      const CodePoint c = decode_code_point(s, at);
      if (delimiter(c.value)) {
        if (done < at) part(done, at, false);
        part(at, at + c.length, true);
        done = at + c.length;
      }
      at += c.length;
    }
    if (done < s.size()) part(done, s.size(), false);
  });
}

using CharacterTest = bool (*)(char32_t);

class CharacterSplit final : public PreTokenizer {
 public:
  CharacterSplit(CharacterTest test, SplitBehavior behavior) : test_(test), behavior_(behavior) {}
  void apply(AlignedText& text, std::vector<Span>& pieces) const override { cut_at_characters(text, pieces, behavior_, test_); }

 private:
  CharacterTest test_;
  SplitBehavior behavior_;
};

class DelimiterSplit final : public PreTokenizer {
 public:
  explicit DelimiterSplit(char32_t delimiter) : delimiter_(delimiter) {}
  void apply(AlignedText& text, std::vector<Span>& pieces) const override {
    cut_at_characters(text, pieces, SplitBehavior::kRemoved, [this](char32_t c) { return c == delimiter_; });
  }

 private:
  char32_t delimiter_;
};

class PatternSplit final : public PreTokenizer {
 public:
  PatternSplit(Regex pattern, SplitBehavior behavior, bool invert) : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(AlignedText& text, std::vector<Span>& pieces) const override {
    cut_pieces(text, pieces, behavior_, [&](std::string_view s, auto&& part) {
      pattern_.cut(s, [&](size_t begin, size_t end, bool match) { part(begin, end, match != invert_); });
    });
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool prefix_space, bool use_regex, ByteSpelling spelling)
      : pattern_(kByteLevelPattern, RegexSyntax::kOniguruma, "ByteLevel"),
        prefix_space_(prefix_space),
        use_regex_(use_regex),
        spelling_(spelling) {}

  void apply(AlignedText& text, std::vector<Span>& pieces) const override {
    if (prefix_space_) put_spaces_in_front(text, pieces);
    if (use_regex_) cut_pieces(text, pieces, SplitBehavior::kIsolated, [&](std::string_view s, auto&& part) { pattern_.cut(s, part); });
    if (spelling_ == ByteSpelling::kAlphabet) spell(text, pieces);
  }

 private:
  static void put_spaces_in_front(AlignedText& text, std::vector<Span>& pieces) {
    bool any = false;
    for (const Span p : pieces) any |= text.view()[p.begin] != ' ';
    if (!any) return;
    Rewriter out(text);
    for (Span& p : pieces) {
      const uint32_t begin = at32(out.size());
      if (text.view()[p.begin] != ' ') out.put(" ", p.begin);
      out.keep(p.begin, p.end);
      p = {begin, at32(out.size())};
    }
    out.finish();
  }
  static void spell(AlignedText& text, std::vector<Span>& pieces) {
    Rewriter out(text);
    for (Span& p : pieces) {
      const uint32_t begin = at32(out.size());
      for (uint32_t at = p.begin; at < p.end; ++at) out.put(byte_alphabet()[static_cast<uint8_t>(text.view()[at])], at);
      p = {begin, at32(out.size())};
    }
    out.finish();
  }

  Regex pattern_;
  bool prefix_space_, use_regex_;
  ByteSpelling spelling_;
};

enum class PrependScheme { kNever, kFirst, kAlways };

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string mark, PrependScheme scheme, bool split)
      : mark_(std::move(mark)), at_mark_(Regex::literal(mark_)), scheme_(scheme), split_(split) {}

  void apply(AlignedText& text, std::vector<Span>& pieces) const override {
    Rewriter out(text);
    for (Span& p : pieces) {
      const std::string_view s = text.view().substr(p.begin, p.end - p.begin);
      const uint32_t begin = at32(out.size());
      const bool marked = s.starts_with(' ') || s.starts_with(mark_);
      if (!marked && (scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && text.starts_original(p.begin))))
        out.put(mark_, p.begin);
      write_piece(s, p, out);
      p = {begin, at32(out.size())};
    }
    out.finish();
    if (split_) cut_pieces(text, pieces, SplitBehavior::kMergedWithNext, [&](std::string_view s, auto&& part) { at_mark_.cut(s, part); });
  }

  [[nodiscard]] bool needs_origins() const override { return scheme_ == PrependScheme::kFirst; }

 private:
  void write_piece(std::string_view s, Span p, Rewriter& out) const {
    for (size_t at = 0; at < s.size();) {
      const size_t space = std::min(s.find(' ', at), s.size());
      out.keep(p.begin + at, p.begin + space);
      if (space < s.size()) out.put(mark_, p.begin + space);
      at = space + 1;
    }
  }

  std::string mark_;
  Regex at_mark_;
  PrependScheme scheme_;
  bool split_;
};

class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(int64_t length) : length_(length) {}
  void apply(AlignedText& text, std::vector<Span>& pieces) const override {
    cut_pieces(text, pieces, SplitBehavior::kIsolated, [&](std::string_view s, auto&& part) {
      size_t begin = 0;
      int64_t n = 0;
      for (size_t at = 0; at < s.size();) {
        at += decode_code_point(s, at).length;
        if (++n % length_ != 0) continue;
        part(begin, at, false);
        begin = at;
      }
      if (begin < s.size()) part(begin, s.size(), false);
    });
  }

 private:
  int64_t length_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void apply(AlignedText& text, std::vector<Span>& pieces) const override {
    for (const auto& step : steps_) step->apply(text, pieces);
  }
  [[nodiscard]] bool needs_origins() const override {
    return std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step->needs_origins(); });
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

bool white(char32_t c) { return is_white_space(c); }
bool bert_punctuation(char32_t c) { return is_punctuation(c); }

std::unique_ptr<PreTokenizer> make_bert() {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  steps.push_back(std::make_unique<CharacterSplit>(white, SplitBehavior::kRemoved));
  steps.push_back(std::make_unique<CharacterSplit>(bert_punctuation, SplitBehavior::kIsolated));
  return std::make_unique<Sequence>(std::move(steps));
}

PrependScheme read_scheme(const Field& f) {
  // Before prepend_scheme there was add_prefix_space.
  const std::string name = f.string_or("prepend_scheme", f.boolean_or("add_prefix_space", true) ? "always" : "never");
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  f.at("prepend_scheme").unsupported("unknown scheme '" + name + "' (known: always, first, never)");
}

char32_t one_character(const Field& f) {
  const std::string& s = f.string();
  const CodePoint c = s.empty() ? CodePoint{} : decode_code_point(s, 0);
  if (s.empty() || c.length != s.size()) f.fail("one character belongs here, found '" + s + "'");
  return c.value;
}

std::string one_character_or(const Field& f, const char* key, std::string_view otherwise) {
  if (!f.has(key)) return std::string(otherwise);
  (void)one_character(f.at(key));
  return f.at(key).string();
}

std::unique_ptr<PreTokenizer> make_split(const Field& f) {
  return std::make_unique<PatternSplit>(read_pattern(f.at("pattern")), read_behavior(f.at("behavior")), f.boolean_or("invert", false));
}

std::unique_ptr<PreTokenizer> make_punctuation(const Field& f) {
  return std::make_unique<CharacterSplit>(bert_punctuation, f.has("behavior") ? read_behavior(f.at("behavior")) : SplitBehavior::kIsolated);
}

// Rust's regex reads \w without the superscripts that Oniguruma adds.
std::unique_ptr<PreTokenizer> make_whitespace() {
  return std::make_unique<PatternSplit>(Regex(R"(\w+|[^\w\s]+)", RegexSyntax::kRust, "Whitespace"), SplitBehavior::kRemoved, true);
}

std::unique_ptr<PreTokenizer> make_sequence(const Field& field, ByteSpelling last, int depth) {
  if (depth > kDeepestSequence) field.fail("sequences of pre-tokenizers are nested too deeply");
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  const std::vector<Field> items = field.at("pretokenizers").items();
  for (size_t i = 0; i < items.size(); ++i)
    if (auto step = make_pre_tokenizer(items[i], i + 1 == items.size() ? last : ByteSpelling::kAlphabet, depth + 1))
      steps.push_back(std::move(step));
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Field& f, ByteSpelling last, int depth) {
  if (f.is_null()) return nullptr;
  const std::string& type = f.type();
  if (type == "ByteLevel")
    return std::make_unique<ByteLevel>(f.boolean_or("add_prefix_space", true), f.boolean_or("use_regex", true), last);
  if (type == "Split") return make_split(f);
  if (type == "Metaspace")
    return std::make_unique<Metaspace>(one_character_or(f, "replacement", "\u2581"), read_scheme(f), f.boolean_or("split", true));
  if (type == "Whitespace") return make_whitespace();
  if (type == "WhitespaceSplit") return std::make_unique<CharacterSplit>(white, SplitBehavior::kRemoved);
  if (type == "Punctuation") return make_punctuation(f);
  if (type == "Digits")
    return std::make_unique<CharacterSplit>(
        is_numeric, f.boolean_or("individual_digits", false) ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  if (type == "BertPreTokenizer") return make_bert();
  if (type == "CharDelimiterSplit" || type == "Delimiter") return std::make_unique<DelimiterSplit>(one_character(f.at("delimiter")));
  if (type == "UnicodeScripts") f.unsupported("the pre-tokenizer UnicodeScripts is not supported");
  if (type == "FixedLength") return std::make_unique<FixedLength>(f.has("length") ? f.at("length").integer_between(1, 1 << 30) : 5);
  if (type == "Sequence") return make_sequence(f, last, depth);
  f.unknown_type({"ByteLevel", "Split", "Metaspace", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "BertPreTokenizer",
                  "CharDelimiterSplit", "FixedLength", "Sequence"});
}

bool ends_in_bytes(const Field& field) {
  if (field.is_null() || !field.json().is_object() || !field.has("type")) return false;
  if (field.type() == "ByteLevel") return true;
  if (field.type() != "Sequence" || !field.has("pretokenizers")) return false;
  const std::vector<Field> items = field.at("pretokenizers").items();
  for (size_t i = 0; i + 1 < items.size(); ++i)
    if (items[i].has("type") && items[i].type() != "Split" && items[i].type() != "Digits" && items[i].type() != "Punctuation") return false;
  return !items.empty() && items.back().has("type") && items.back().type() == "ByteLevel";
}

}  // namespace nemo::text::hf

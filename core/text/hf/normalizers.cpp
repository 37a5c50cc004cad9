#include "core/text/hf/normalizers.hpp"

#include "core/text/hf/byte_alphabet.hpp"
#include "core/text/hf/patterns.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

bool ascii(char c) { return static_cast<uint8_t>(c) < 0x80; }

template <class F>
void for_each_character(std::string_view s, F&& f) {
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = decode_code_point(s, at);
    f(c.value, at, c.length);
    at += c.length;
  }
}

// Leaves out the characters for which `drop` holds.
template <class F>
void filter(AlignedText& text, F&& drop) {
  bool any = false;
  for_each_character(text.view(), [&](char32_t c, size_t, uint32_t) { any |= drop(c); });
  if (!any) return;
  Rewriter out(text);
  for_each_character(text.view(), [&](char32_t c, size_t at, uint32_t n) {
    if (!drop(c)) out.keep(at, at + n);
  });
  out.finish();
}

template <class F>
void map_characters(AlignedText& text, F&& f) {
  Rewriter out(text);
  for_each_character(text.view(), [&](char32_t c, size_t at, uint32_t) { out.put(f(c), at); });
  out.finish();
}

void lower(AlignedText& text) {
  Rewriter out(text);
  for_each_character(text.view(), [&](char32_t c, size_t at, uint32_t) {
    const LowerCase l = to_lower(c);
    for (int i = 0; i < l.count; ++i) out.put(l.points[static_cast<size_t>(i)], at);
  });
  out.finish();
}

// Normal forms leave ASCII alone, and nothing crosses the border in front of an ASCII character: only the runs between are worked on.
void to_normal_form(AlignedText& text, NormalForm form) {
  const std::string_view s = text.view();
  std::vector<ChangedChar> all;
  bool any = false;
  for (const char c : s) any |= !ascii(c);
  if (!any) return;
  Rewriter out(text);
  for (size_t at = 0; at < s.size();) {
    size_t end = at;
    while (end < s.size() && ascii(s[end])) ++end;
    if (end < s.size() && end > at) --end;  // it may compose with what follows
    out.keep(at, end);
    at = end;
    if (at == s.size()) break;
    end = at + (ascii(s[at]) ? 1 : 0);
    while (end < s.size() && !ascii(s[end])) ++end;
    const std::string_view run = s.substr(at, end - at);
    size_t read = at;
    for (const ChangedChar& c : normalize(run, form)) {
      out.put(c.value, c.change > 0 ? read - 1 : read);
      for (int32_t n = c.change; n <= 0 && read < end; ++n) read += decode_code_point(s, read).length;
    }
    at = end;
  }
  out.finish();
}

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(AlignedText& text) const override { to_normal_form(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(AlignedText& text) const override { lower(text); }
};

class StripAccents final : public Normalizer {
 public:
  void apply(AlignedText& text) const override { filter(text, is_mark); }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(AlignedText& text) const override {
    const std::string_view s = text.view();
    size_t begin = s.size(), end = 0;
    for_each_character(s, [&](char32_t c, size_t at, uint32_t n) {
      if (is_white_space(c)) return;
      begin = std::min(begin, at);
      end = at + n;
    });
    if (!left_) begin = 0;
    if (!right_) end = s.size();
    if (begin == 0 && end == s.size()) return;
    Rewriter out(text);
    if (begin < end) out.keep(begin, end);
    out.finish();
  }

 private:
  bool left_, right_;
};

class Replace final : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(AlignedText& text) const override {
    Match first;
    if (!pattern_.find(text.view(), 0, first)) return;
    Rewriter out(text);
    pattern_.cut(text.view(), [&](size_t begin, size_t end, bool match) {
      if (match)
        out.put(content_, end == 0 ? 0 : end - 1);
      else
        out.keep(begin, end);
    });
    out.finish();
  }

 private:
  Regex pattern_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string text) : prefix_(std::move(text)) {}
  void apply(AlignedText& text) const override {
    if (text.view().empty()) return;
    Rewriter out(text);
    out.put(prefix_, 0);
    out.keep(0, text.view().size());
    out.finish();
  }

 private:
  std::string prefix_;
};

class Bert final : public Normalizer {
 public:
  Bert(bool clean, bool chinese, bool accents, bool lowercase) : clean_(clean), chinese_(chinese), accents_(accents), lower_(lowercase) {}
  void apply(AlignedText& text) const override {
    if (clean_) {
      filter(text, [](char32_t c) { return c == 0 || c == 0xFFFD || (c != '\t' && c != '\n' && c != '\r' && is_control_like(c)); });
      map_characters(text, [](char32_t c) { return is_white_space(c) ? U' ' : c; });
    }
    if (chinese_) set_chinese_apart(text);
    if (accents_) {
      to_normal_form(text, NormalForm::kNfd);
      filter(text, is_nonspacing_mark);
    }
    if (lower_) lower(text);
  }

 private:
  static void set_chinese_apart(AlignedText& text) {
    Rewriter out(text);
    for_each_character(text.view(), [&](char32_t c, size_t at, uint32_t n) {
      if (is_chinese(c)) out.put(U' ', at);
      out.keep(at, at + n);
      if (is_chinese(c)) out.put(U' ', at);
    });
    out.finish();
  }
  bool clean_, chinese_, accents_, lower_;
};

class Nmt final : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    filter(text,
           [](char32_t c) { return (c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F; });
    map_characters(text, [](char32_t c) {
      const bool space = c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
                         c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      return space ? U' ' : c;
    });
  }
};

class ByteLevel final : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    Rewriter out(text);
    for (size_t at = 0; at < text.view().size(); ++at) out.put(byte_alphabet()[static_cast<uint8_t>(text.view()[at])], at);
    out.finish();
  }
};

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(AlignedText& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::unique_ptr<Normalizer> make_sequence(const Field& field, int depth) {
  if (depth > kDeepestSequence) field.fail("sequences of normalizers are nested too deeply");
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (const Field& item : field.at("normalizers").items())
    if (auto step = make_normalizer(item, depth + 1)) steps.push_back(std::move(step));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<Normalizer> make_bert(const Field& f) {
  const bool lowercase = f.boolean_or("lowercase", true);
  return std::make_unique<Bert>(f.boolean_or("clean_text", true), f.boolean_or("handle_chinese_chars", true),
                                f.boolean_or("strip_accents", lowercase), lowercase);
}

}  // namespace

std::string Normalizer::apply_to(std::string_view text) const {
  AlignedText t(text, 0, false);
  apply(t);
  return std::string(t.view());
}

std::unique_ptr<Normalizer> make_normalizer(const Field& field, int depth) {
  if (field.is_null()) return nullptr;
  const std::string& type = field.type();
  if (type == "NFC") return std::make_unique<Form>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<Form>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<Form>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<Form>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Strip") return std::make_unique<Strip>(field.boolean_or("strip_left", true), field.boolean_or("strip_right", true));
  if (type == "Replace") return std::make_unique<Replace>(read_pattern(field.at("pattern")), field.at("content").string());
  if (type == "Prepend") return std::make_unique<Prepend>(field.at("prepend").string());
  if (type == "Precompiled") return field.has("precompiled_charsmap") ? make_precompiled(field.at("precompiled_charsmap")) : nullptr;
  if (type == "BertNormalizer") return make_bert(field);
  if (type == "Nmt") return std::make_unique<Nmt>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Sequence") return make_sequence(field, depth);
  field.unknown_type({"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Replace", "Prepend", "Precompiled",
                      "BertNormalizer", "Nmt", "ByteLevel", "Sequence"});
}

}  // namespace nemo::text::hf

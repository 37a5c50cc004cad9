#include "core/text/hf/post_processors.hpp"

#include <algorithm>
#include <map>

#include "core/text/unicode.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

// "\u0120" is how byte-level vocabularies write a space.
bool is_space(char32_t c) { return c == 0x120 || is_white_space(c); }

// Takes the spaces at both ends of byte-level tokens out of their offsets.
void trim(Encoding& e, bool prefix_space) {
  for (size_t i = 0; i < e.size(); ++i) {
    uint32_t leading = 0, trailing = 0;
    bool text = false;
    for (size_t at = 0; at < e.tokens[i].size();) {
      const CodePoint c = decode_code_point(e.tokens[i], at);
      const bool space = is_space(c.value);
      text |= !space;
      leading += space && !text ? 1 : 0;
      trailing = space ? trailing + 1 : 0;
      at += c.length;
    }
    Span& o = e.offsets[i];
    if (leading > 0) {
      // The one space that was put in front of the text is not in the text.
      if ((i == 0 || o.begin == 0) && prefix_space && leading == 1) leading = 0;
      o.begin = std::min(o.begin + leading, o.end);
    }
    if (trailing > 0 && o.end >= trailing) o.end = std::max(o.end - trailing, o.begin);
  }
}

void trim_all(std::vector<Encoding>& encodings, bool prefix_space) {
  for (Encoding& e : encodings) {
    trim(e, prefix_space);
    for (Encoding& o : e.overflowing) trim(o, prefix_space);
  }
}

class ByteLevel final : public PostProcessor {
 public:
  ByteLevel(bool trims, bool prefix_space) : trim_(trims), prefix_space_(prefix_space) {}
  [[nodiscard]] size_t added(bool) const override { return 0; }
  [[nodiscard]] std::vector<Encoding> process(std::vector<Encoding> encodings, Specials) const override {
    if (trim_) trim_all(encodings, prefix_space_);
    return encodings;
  }

 private:
  bool trim_, prefix_space_;
};

struct NamedToken {
  std::string text;
  int32_t id = 0;
};

Encoding special(const NamedToken& t, int32_t type_id) {
  Encoding e;
  e.add(t.id, t.text, {}, type_id, true);
  return e;
}

// [CLS] A [SEP] B [SEP], and RoBERTa's <s> A </s></s> B </s>.
class Classic final : public PostProcessor {
 public:
  enum class Kind { kBert, kRoberta };
  Classic(Kind kind, NamedToken begin, NamedToken separator, bool trims, bool prefix_space)
      : kind_(kind), begin_(std::move(begin)), separator_(std::move(separator)), trim_(trims), prefix_space_(prefix_space) {}

  [[nodiscard]] size_t added(bool pair) const override { return !pair ? 2 : kind_ == Kind::kBert ? 3 : 4; }

  [[nodiscard]] std::vector<Encoding> process(std::vector<Encoding> encodings, Specials specials) const override {
    if (trim_) trim_all(encodings, prefix_space_);
    if (kind_ == Kind::kRoberta)
      for (Encoding& e : encodings) e.set_type(0);
    if (specials == Specials::kLeaveOut) return encodings;
    std::vector<Encoding> out;
    for (size_t i = 0; i < encodings.size(); ++i) {
      const int32_t type = kind_ == Kind::kBert ? static_cast<int32_t>(i) : 0;
      if (i == 0)
        out.push_back(special(begin_, 0));
      else if (kind_ == Kind::kRoberta)
        out.push_back(special(separator_, 0));
      out.push_back(std::move(encodings[i]));
      out.push_back(special(separator_, type));
    }
    return out;
  }

 private:
  Kind kind_;
  NamedToken begin_, separator_;
  bool trim_, prefix_space_;
};

NamedToken read_named(const Field& f) {
  const std::vector<Field> items = f.items();
  if (items.size() != 2) f.fail("a list [token, id] belongs here");
  return {items[0].string(), static_cast<int32_t>(items[1].integer_between(0, (1 << 24) - 1))};
}

class Template final : public PostProcessor {
 public:
  explicit Template(const Field& f) {
    if (f.has("special_tokens")) {
      for (const auto& [name, value] : f.at("special_tokens").json().items())
        tokens_[name] = read_tokens(Field(value, f.path() + ".special_tokens[\"" + name + "\"]"));
    }
    single_ = read_template(f.at("single"), false);
    pair_ = read_template(f.at("pair"), true);
  }

  [[nodiscard]] size_t added(bool pair) const override {
    size_t n = 0;
    for (const Piece& p : pair ? pair_ : single_)
      if (p.sequence < 0) n += tokens_.at(p.token).size();
    return n;
  }

  [[nodiscard]] std::vector<Encoding> process(std::vector<Encoding> encodings, Specials specials) const override {
    std::vector<Encoding> out;
    for (const Piece& p : encodings.size() > 1 ? pair_ : single_) {
      if (p.sequence >= 0) {
        Encoding e = encodings[static_cast<size_t>(p.sequence)];
        e.set_type(p.type_id);
        out.push_back(std::move(e));
      } else if (specials == Specials::kAdd) {
        for (const NamedToken& t : tokens_.at(p.token)) out.push_back(special(t, p.type_id));
      }
    }
    return out;
  }

 private:
  struct Piece {
    int sequence = -1;  // 0: A, 1: B, -1: a special token
    std::string token;
    int32_t type_id = 0;
  };

  static std::vector<NamedToken> read_tokens(const Field& f) {
    const std::vector<Field> ids = f.at("ids").items(), texts = f.at("tokens").items();
    if (ids.size() != texts.size()) f.fail("\"ids\" and \"tokens\" must have the same length");
    std::vector<NamedToken> out;
    for (size_t i = 0; i < ids.size(); ++i)
      out.push_back({texts[i].string(), static_cast<int32_t>(ids[i].integer_between(0, (1 << 24) - 1))});
    return out;
  }

  [[nodiscard]] std::vector<Piece> read_template(const Field& f, bool pair) const {
    std::vector<Piece> out;
    for (const Field& item : f.items()) {
      const bool sequence = item.has("Sequence");
      if (!sequence && !item.has("SpecialToken")) item.fail("expected {\"Sequence\": ...} or {\"SpecialToken\": ...}");
      const Field body = item.at(sequence ? "Sequence" : "SpecialToken");
      const std::string& id = body.at("id").string();
      const auto type_id = static_cast<int32_t>(body.at("type_id").integer_between(0, 1 << 20));
      if (!sequence && !tokens_.contains(id)) body.fail("the special token \"" + id + "\" is not in \"special_tokens\"");
      if (sequence && id != "A" && (id != "B" || !pair)) body.fail("no sequence \"" + id + "\" here");
      out.push_back({!sequence ? -1 : id == "A" ? 0 : 1, sequence ? "" : id, type_id});
    }
    return out;
  }

  std::map<std::string, std::vector<NamedToken>> tokens_;
  std::vector<Piece> single_, pair_;
};

class Sequence final : public PostProcessor {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PostProcessor>> steps) : steps_(std::move(steps)) {}
  [[nodiscard]] size_t added(bool pair) const override {
    size_t n = 0;
    for (const auto& step : steps_) n += step->added(pair);
    return n;
  }
  [[nodiscard]] std::vector<Encoding> process(std::vector<Encoding> encodings, Specials specials) const override {
    for (const auto& step : steps_) encodings = step->process(std::move(encodings), specials);
    return encodings;
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> steps_;
};

std::unique_ptr<PostProcessor> make_sequence(const Field& f, int depth) {
  if (depth > kDeepestSequence) f.fail("sequences of post-processors are nested too deeply");
  std::vector<std::unique_ptr<PostProcessor>> steps;
  bool makes_more = false;
  for (const Field& item : f.at("processors").items()) {
    if (makes_more) item.unsupported("a post-processor behind one that adds special tokens is not supported");
    if (auto step = make_post_processor(item, depth + 1)) steps.push_back(std::move(step));
    makes_more = item.has("type") && item.type() != "ByteLevel" && item.type() != "Sequence";
  }
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<PostProcessor> make_post_processor(const Field& f, int depth) {
  if (f.is_null()) return nullptr;
  const std::string& type = f.type();
  const bool trims = type != "BertProcessing" && f.boolean_or("trim_offsets", true), prefix = f.boolean_or("add_prefix_space", true);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(trims, prefix);
  if (type == "TemplateProcessing") return std::make_unique<Template>(f);
  if (type == "BertProcessing" || type == "RobertaProcessing")
    return std::make_unique<Classic>(type == "BertProcessing" ? Classic::Kind::kBert : Classic::Kind::kRoberta, read_named(f.at("cls")),
                                     read_named(f.at("sep")), trims, prefix);
  if (type == "Sequence") return make_sequence(f, depth);
  f.unknown_type({"ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing", "Sequence"});
}

}  // namespace nemo::text::hf

#include "core/text/hf/decoders.hpp"

#include "core/text/hf/byte_alphabet.hpp"
#include "core/text/hf/patterns.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

void replace_all(std::string& s, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  for (size_t at = 0; (at = s.find(from, at)) != std::string::npos; at += to.size()) s.replace(at, from.size(), to);
}

// English punctuation and contractions without the spaces that WordPiece leaves before them.
void clean_up(std::string& s) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(s, from, to);
}

class ByteLevel final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& t : tokens)
      if (!read_byte_alphabet(t, all)) all += t;
    tokens.assign(1, all);
  }
};

class Metaspace final : public Decoder {
 public:
  Metaspace(std::string mark, bool prepended) : mark_(std::move(mark)), prepended_(prepended) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], mark_, i == 0 && prepended_ ? "" : " ");
  }

 private:
  std::string mark_;
  bool prepended_;
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// "<0x41>" -> 0x41; -1: another token.
int byte_of(const std::string& t) {
  if (t.size() != 6 || !t.starts_with("<0x") || t[5] != '>') return -1;
  const int high = hex_digit(t[3]), low = hex_digit(t[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// A run of byte tokens is text if it is UTF-8 as a whole, else one U+FFFD a byte.
class ByteFallback final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (replace_invalid_utf8(bytes) == bytes)
        out.push_back(bytes);
      else
        out.insert(out.end(), bytes.size(), "\uFFFD");
      bytes.clear();
    };
    for (std::string& t : tokens) {
      const int byte = byte_of(t);
      if (byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
        continue;
      }
      flush();
      out.push_back(std::move(t));
    }
    flush();
    tokens = std::move(out);
  }
};

class Fuse final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& t : tokens) all += t;
    tokens.assign(1, all);
  }
};

class Strip final : public Decoder {
 public:
  Strip(std::string content, int64_t start, int64_t stop) : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& t : tokens) {
      std::string_view s = t;
      for (int64_t i = 0; i < start_ && s.starts_with(content_); ++i) s.remove_prefix(content_.size());
      for (int64_t i = 0; i < stop_ && s.ends_with(content_); ++i) s.remove_suffix(content_.size());
      if (s.size() != t.size()) t = std::string(s);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class Replace final : public Decoder {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& t : tokens) {
      Match m;
      if (t.empty() || !pattern_.find(t, 0, m)) continue;
      std::string out;
      pattern_.cut(t, [&](size_t begin, size_t end, bool match) {
        if (match)
          out += content_;
        else
          out.append(t, begin, end - begin);
      });
      t = std::move(out);
    }
  }

 private:
  Regex pattern_;
  std::string content_;
};

class WordPiece final : public Decoder {
 public:
  WordPiece(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && tokens[i].starts_with(prefix_))
        tokens[i].erase(0, prefix_.size());
      else if (i > 0)
        tokens[i].insert(0, " ");
      if (cleanup_) clean_up(tokens[i]);
    }
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

class WordSuffix final : public Decoder {
 public:
  explicit WordSuffix(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size() && !suffix_.empty(); ++i) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
  }

 private:
  std::string suffix_;
};

class Ctc final : public Decoder {
 public:
  Ctc(std::string pad, std::string delimiter, bool cleanup) : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && tokens[i] == tokens[i - 1]) continue;
      std::string t = tokens[i];
      if (!pad_.empty()) replace_all(t, pad_, "");
      if (cleanup_) {
        clean_up(t);
        if (!delimiter_.empty()) replace_all(t, delimiter_, " ");
      }
      if (!t.empty()) out.push_back(std::move(t));
    }
    tokens = std::move(out);
  }

 private:
  std::string pad_, delimiter_;
  bool cleanup_;
};

class Sequence final : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (const auto& step : steps_) step->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

// Within a sequence the next decoder needs text, not bytes.
class AsText final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& t : tokens) t = replace_invalid_utf8(t);
  }
};

std::unique_ptr<Decoder> make_sequence(const Field& f, int depth) {
  if (depth > kDeepestSequence) f.fail("sequences of decoders are nested too deeply");
  std::vector<std::unique_ptr<Decoder>> steps;
  for (const Field& item : f.at("decoders").items()) {
    auto step = make_decoder(item, depth + 1);
    if (step == nullptr) continue;
    steps.push_back(std::move(step));
    if (item.type() == "ByteLevel") steps.push_back(std::make_unique<AsText>());
  }
  return std::make_unique<Sequence>(std::move(steps));
}

bool prepends(const Field& f) {
  return f.string_or("prepend_scheme", f.boolean_or("add_prefix_space", true) ? "always" : "never") != "never";
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const Field& f, int depth) {
  if (f.is_null()) return nullptr;
  const std::string& type = f.type();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Metaspace") return std::make_unique<Metaspace>(f.string_or("replacement", "\u2581"), prepends(f));
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Strip") {
    const std::string& content = f.at("content").string();
    if (content.empty()) f.at("content").fail("one character belongs here");
    return std::make_unique<Strip>(content, f.at("start").integer_between(0, 1 << 30), f.at("stop").integer_between(0, 1 << 30));
  }
  if (type == "Replace") return std::make_unique<Replace>(read_pattern(f.at("pattern")), f.at("content").string());
  if (type == "WordPiece") return std::make_unique<WordPiece>(f.string_or("prefix", "##"), f.boolean_or("cleanup", true));
  if (type == "BPEDecoder") return std::make_unique<WordSuffix>(f.string_or("suffix", "</w>"));
  if (type == "CTC")
    return std::make_unique<Ctc>(f.string_or("pad_token", "<pad>"), f.string_or("word_delimiter_token", "|"),
                                 f.boolean_or("cleanup", true));
  if (type == "Sequence") return make_sequence(f, depth);
  f.unknown_type({"ByteLevel", "Metaspace", "ByteFallback", "Fuse", "Strip", "Replace", "WordPiece", "BPEDecoder", "CTC", "Sequence"});
}

}  // namespace nemo::text::hf

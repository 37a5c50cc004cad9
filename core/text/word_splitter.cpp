#include "core/text/word_splitter.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/base/error.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {

// PCRE2's own \s also has U+180E, which Unicode took out of White_Space in version 6.3.
#define NEMO_SPACE "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
const std::string_view kGpt2Pattern =
    "'(?:[sdmt]|ll|ve|re)"
    "| ?\\p{L}+"
    "| ?\\p{N}+"
    "| ?[^" NEMO_SPACE
    "\\p{L}\\p{N}]+"
    "|[" NEMO_SPACE "]+(?![^" NEMO_SPACE
    "])"
    "|[" NEMO_SPACE "]+";
#undef NEMO_SPACE

struct WordSplitter::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

namespace {

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[160];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

struct MatchData {
  pcre2_match_data* data;
  explicit MatchData(const pcre2_code* code) : data(pcre2_match_data_create_from_pattern(code, nullptr)) {}
  ~MatchData() { pcre2_match_data_free(data); }
  MatchData(const MatchData&) = delete;
  MatchData& operator=(const MatchData&) = delete;
};

// The length of the longest valid (or, with kBroken, invalid) run at `at`. Validity is settled here once: a check inside pcre2_match would
// read the rest of the text again for every word.
enum class Run { kValid, kBroken };
size_t run_length(std::string_view text, size_t at, Run kind) {
  size_t end = at;
  while (end < text.size()) {
    if (kind == Run::kValid && static_cast<uint8_t>(text[end]) < 0x80) {
      ++end;
      continue;
    }
    const CodePoint c = decode_code_point(text, end);
    if (c.valid != (kind == Run::kValid)) break;
    end += c.length;
  }
  return end - at;
}

void split_valid(const pcre2_code* code, MatchData& match, std::string_view text, const WordSplitter::Word& word) {
  for (size_t at = 0; at < text.size();) {
    const int found =
        pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_NO_UTF_CHECK, match.data, nullptr);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH) throw Error(Code::kInternal, "splitting text into words: " + pcre2_message(found));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(match.data);
    const size_t begin = found < 0 ? text.size() : span[0];
    const size_t end = found < 0 ? text.size() : span[1];
    if (begin > at) word(text.substr(at, begin - at));
    if (end > begin) word(text.substr(begin, end - begin));
    if (end <= at) throw Error(Code::kInternal, "splitting text into words: the pattern matches nothing at all");
    at = end;
  }
}

}  // namespace

WordSplitter::WordSplitter(std::string_view pattern) : code_(std::make_unique<Code>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (code_->code == nullptr)
    throw Error(nemo::Code::kInternal, "word pattern, character " + std::to_string(offset) + ": " + pcre2_message(error));
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);  // without a JIT the interpreter gives the same words, more slowly
}

WordSplitter::~WordSplitter() = default;

void WordSplitter::split(std::string_view text, const Word& word) const {
  MatchData match(code_->code);
  if (match.data == nullptr) throw Error(nemo::Code::kOutOfMemory, "splitting text into words: out of memory");
  for (size_t at = 0; at < text.size();) {
    const size_t valid = run_length(text, at, Run::kValid);
    split_valid(code_->code, match, text.substr(at, valid), word);
    at += valid;
    const size_t broken = run_length(text, at, Run::kBroken);
    if (broken > 0) word(text.substr(at, broken));
    at += broken;
  }
}

}  // namespace nemo::text

#include "core/text/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/base/error.hpp"

namespace nemo::text {

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string literal;  // searched instead of the code where not empty
  std::string where;
  ~Code() { pcre2_code_free(code); }
};

namespace {

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[160];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What a match needs, one for each thread: any pattern can use it.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, 64 << 20, nullptr);
  Scratch() {
    if (data == nullptr || context == nullptr) throw Error(Code::kOutOfMemory, "regular expressions: out of memory");
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_heap_limit(context, 1 << 20);  // KiB
    pcre2_set_match_limit(context, 1u << 31);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

Scratch& scratch() {
  thread_local Scratch s;
  return s;
}

}  // namespace

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Regex(std::string_view pattern, RegexSyntax syntax, std::string_view where) : code_(std::make_unique<Code>()) {
  const std::string translated = to_pcre2(pattern, syntax, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t lines = syntax == RegexSyntax::kOniguruma ? PCRE2_MULTILINE : PCRE2_DOLLAR_ENDONLY;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), PCRE2_UTF | PCRE2_UCP | lines, &error,
                              &offset, nullptr);
  code_->where = where;
  if (code_->code == nullptr)
    throw Error(nemo::Code::kDataLoss, std::string(where) + ": the pattern '" + std::string(pattern) +
                                           "' is no regular expression that PCRE2 can read: " + pcre2_message(error));
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex Regex::literal(std::string_view text) {
  auto code = std::make_unique<Code>();
  code->literal = text;
  return Regex(std::move(code));
}

bool Regex::find(std::string_view text, size_t from, Match& match) const {
  if (code_->code == nullptr) {
    const size_t at = code_->literal.empty() ? std::string_view::npos : text.find(code_->literal, from);
    match = {at, at + code_->literal.size()};
    return at != std::string_view::npos;
  }
  if (!code_->jit) return find_slowly(text, from, match);
  Scratch& s = scratch();
  const int found =
      pcre2_jit_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, PCRE2_NO_UTF_CHECK, s.data, s.context);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) return find_slowly(text, from, match);
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(s.data);
  match = {span[0], span[1]};
  return true;
}

bool Regex::find_slowly(std::string_view text, size_t from, Match& match) const {
  Scratch& s = scratch();
  const int found = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s.data, s.context);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0)
    throw Error(nemo::Code::kUnsupported,
                code_->where + ": the regular expression cannot be matched against this text: " + pcre2_message(found));
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(s.data);
  match = {span[0], span[1]};
  return true;
}

}  // namespace nemo::text

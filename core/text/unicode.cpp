#include "core/text/unicode.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_map>

#include "core/text/unicode_versions.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

template <class Row>
const Row* find_row(std::span<const Row> rows, char32_t c) {
  const auto after = std::upper_bound(rows.begin(), rows.end(), c, [](char32_t v, const Row& r) { return v < r.first; });
  if (after == rows.begin()) return nullptr;
  const Row& row = *(after - 1);
  return c <= row.last ? &row : nullptr;
}

bool in(std::span<const CodePointRange> rows, char32_t c) { return find_row(rows, c) != nullptr; }

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

std::string_view new_category(char32_t c) {
  const NewCharacters* row = find_row(unicode_differences().new_characters, c);
  return row == nullptr ? "" : row->category;
}

bool between(utf8proc_category_t c, utf8proc_category_t first, utf8proc_category_t last) { return c >= first && c <= last; }

int combining_class(char32_t c) {
  if (c < 0x300) return 0;
  const int value = utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
  return value != 0 && in(unicode_differences().not_yet_reordered, c) ? 0 : value;
}

}  // namespace

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return between(category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO) || new_category(c).starts_with('N') ||
         (c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  const UnicodeDifferences& d = unicode_differences();
  if (between(category(c), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO)) return !in(d.not_yet_punctuation, c);
  return in(d.punctuation_only, c);
}

bool is_nonspacing_mark(char32_t c) {
  if (c < 0x300) return false;
  const UnicodeDifferences& d = unicode_differences();
  if (category(c) == UTF8PROC_CATEGORY_MN) return !in(d.not_yet_nonspacing, c);
  return in(d.nonspacing_only, c);
}

bool is_mark(char32_t c) {
  if (c < 0x300) return false;
  const UnicodeDifferences& d = unicode_differences();
  if (between(category(c), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME)) return !in(d.not_yet_mark, c);
  return in(d.mark_only, c);
}

bool is_control_like(char32_t c) {
  if (c < 0x80) return c < 0x20 || c == 0x7F;
  // Format characters that Unicode 8 did not have.
  if (c == 0x890 || c == 0x891 || c == 0x8E2 || c == 0x110CD || (c >= 0x13430 && c <= 0x1343F)) return false;
  return between(category(c), UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO);
}

bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

LowerCase to_lower(char32_t c) {
  if (c < 0x80) return {{c >= 'A' && c <= 'Z' ? c + 32 : c}, 1};
  if (c == 0x130) return {{'i', 0x307}, 2};
  if (const Mapping* row = find_row(unicode_differences().lower_case, c)) return {{row->to + (c - row->first)}, 1};
  return {{static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)))}, 1};
}

namespace {

// Pairs that compose, from the canonical decompositions that are not excluded.
class Composer {
 public:
  // Shorter decompositions first: the longer ones build on them.
  Composer() {
    for (utf8proc_ssize_t length = 2; length <= 4; ++length) {
      for (char32_t c = 0xC0; c < 0x30000; ++c) {
        if (c >= 0xAC00 && c < 0xE000) continue;
        const utf8proc_property_t* p = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
        if (p->decomp_seqindex == UINT16_MAX || p->decomp_type != 0 || p->comp_exclusion) continue;
        if (!in(unicode_differences().not_yet_decomposed, c)) add(c, length);
      }
    }
  }
  // 0: they do not compose.
  [[nodiscard]] char32_t compose(char32_t a, char32_t b) const {
    if (a >= 0x1100 && a < 0x1113 && b >= 0x1161 && b < 0x1176) return 0xAC00 + ((a - 0x1100) * 21 + (b - 0x1161)) * 28;
    if (a >= 0xAC00 && a < 0xD7A4 && (a - 0xAC00) % 28 == 0 && b > 0x11A7 && b < 0x11C3) return a + (b - 0x11A7);
    const auto found = pairs_.find(static_cast<uint64_t>(a) << 32 | b);
    return found == pairs_.end() ? 0 : found->second;
  }

 private:
  // The full decomposition is at hand, the pair is wanted: its last character and the composite of the others.
  void add(char32_t c, utf8proc_ssize_t length) {
    utf8proc_int32_t points[8];
    int last = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), points, 8, UTF8PROC_DECOMPOSE, &last);
    if (n != length) return;
    if (combining_class(static_cast<char32_t>(points[0])) != 0 || combining_class(c) != 0) return;
    auto head = static_cast<char32_t>(points[0]);
    for (utf8proc_ssize_t i = 1; i + 1 < n; ++i) head = compose(head, static_cast<char32_t>(points[i]));
    if (head != 0) pairs_.emplace(static_cast<uint64_t>(head) << 32 | static_cast<uint32_t>(points[n - 1]), c);
  }
  std::unordered_map<uint64_t, char32_t> pairs_;
};

const Composer& composer() {
  static const Composer c;
  return c;
}

struct Decomposed {
  char32_t value;
  int32_t change;
  int combining;
};

// Puts a run of marks into canonical order.
void sort_marks(std::vector<Decomposed>& out, size_t from) {
  std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(from), out.end(),
                   [](const Decomposed& a, const Decomposed& b) { return a.combining < b.combining; });
}

void decompose_one(char32_t c, utf8proc_option_t options, std::vector<Decomposed>& out, size_t& marks_from) {
  utf8proc_int32_t points[32];
  utf8proc_ssize_t n = 1;
  int last = 0;
  points[0] = static_cast<utf8proc_int32_t>(c);
  if (c >= 0xA0 && !in(unicode_differences().not_yet_decomposed, c))
    n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), points, 32, options, &last);
  for (utf8proc_ssize_t i = 0; i < n; ++i) {
    const auto value = static_cast<char32_t>(points[i]);
    const int combining = combining_class(value);
    if (combining == 0) {
      sort_marks(out, marks_from);
      out.push_back({value, i > 0 ? 1 : 0, 0});
      marks_from = out.size();
    } else {
      out.push_back({value, i > 0 ? 1 : 0, combining});
    }
  }
}

std::vector<Decomposed> decompose(std::string_view text, bool compatibility) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0));
  std::vector<Decomposed> out;
  out.reserve(text.size());
  size_t marks_from = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_code_point(text, at);
    decompose_one(c.value, options, out, marks_from);
    at += c.length;
  }
  sort_marks(out, marks_from);
  return out;
}

std::vector<ChangedChar> compose(const std::vector<Decomposed>& in) {
  std::vector<ChangedChar> out;
  out.reserve(in.size());
  size_t starter = SIZE_MAX;  // index in out
  int last_class = -1;        // of what lies between starter and here; -1: nothing
  for (const Decomposed& d : in) {
    const bool blocked = last_class >= 0 && (last_class == 0 || last_class >= d.combining);
    const char32_t joined = starter != SIZE_MAX && !blocked ? composer().compose(out[starter].value, d.value) : 0;
    if (joined != 0) {
      out[starter] = {joined, out[starter].change + d.change - 1};
      continue;
    }
    out.push_back({d.value, d.change});
    if (d.combining == 0) {
      starter = out.size() - 1;
      last_class = -1;
    } else {
      last_class = d.combining;
    }
  }
  return out;
}

}  // namespace

std::vector<ChangedChar> normalize(std::string_view text, NormalForm form) {
  const std::vector<Decomposed> parts = decompose(text, form == NormalForm::kNfkc || form == NormalForm::kNfkd);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) return compose(parts);
  std::vector<ChangedChar> out;
  out.reserve(parts.size());
  for (const Decomposed& d : parts) out.push_back({d.value, d.change});
  return out;
}

size_t grapheme_length(std::string_view text, size_t at) {
  CodePoint c = decode_code_point(text, at);
  size_t end = at + c.length;
  utf8proc_int32_t state = 0;
  while (end < text.size()) {
    const CodePoint next = decode_code_point(text, end);
    if (c.value >= 0x20 && c.value < 0x7F && next.value < 0x80) break;
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.value), static_cast<utf8proc_int32_t>(next.value), &state)) break;
    end += next.length;
    c = next;
  }
  return end - at;
}

bool is_word(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  const utf8proc_category_t k = category(c);
  if (between(k, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO) || between(k, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME)) return true;
  if (k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D) return true;
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189))
    return true;  // Other_Alphabetic symbols
  const std::string_view added = new_category(c);
  return added.starts_with('L') || added.starts_with('M') || added == "Nd";
}

}  // namespace nemo::text

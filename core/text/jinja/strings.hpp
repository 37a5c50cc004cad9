// core/text/jinja/strings.hpp - Python's strings over UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nemo::text::jinja {

[[nodiscard]] int64_t count_characters(std::string_view s);
[[nodiscard]] std::vector<std::string> characters(std::string_view s);  // one string a code point

[[nodiscard]] std::string quote_python(std::string_view s);  // repr()
[[nodiscard]] std::string quote_json(std::string_view s, bool ascii);

enum class Side { kLeft, kRight, kBoth };
// Takes off characters that are in `set`; white space where it is nullptr.
[[nodiscard]] std::string strip(std::string_view s, const std::string* set, Side side);

// At `separator`, at most `most` times (< 0: any number); without one at runs of white space, with no empty pieces.
[[nodiscard]] std::vector<std::string> split(std::string_view s, const std::string* separator, int64_t most, Side from);
[[nodiscard]] std::vector<std::string> split_lines(std::string_view s, bool keep_ends);

[[nodiscard]] std::string lower(std::string_view s);
[[nodiscard]] std::string upper(std::string_view s);
[[nodiscard]] std::string capitalize(std::string_view s);
// Upper case behind what is no letter (Python's str.title), lower case elsewhere.
[[nodiscard]] std::string title(std::string_view s);
// The filter of that name: upper case at the start and behind spaces, hyphens and opening brackets.
[[nodiscard]] std::string title_words(std::string_view s);
[[nodiscard]] std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t most);

}  // namespace nemo::text::jinja

// core/text/hf/byte_alphabet.hpp - GPT-2's alphabet: a printable character for each byte, in which byte-level vocabularies are written.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace nemo::text::hf {

// Printable Latin-1 characters stand for themselves, the other bytes in order for U+0100, U+0101 ... All take two bytes of UTF-8 or less.
[[nodiscard]] const std::array<std::string, 256>& byte_alphabet();

// Appends the bytes that `written` stands for; false, and nothing appended, where a character is not in the alphabet.
bool read_byte_alphabet(std::string_view written, std::string& bytes);

}  // namespace nemo::text::hf

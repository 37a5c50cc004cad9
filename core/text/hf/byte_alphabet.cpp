#include "core/text/hf/byte_alphabet.hpp"

#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

bool printable(char32_t b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF); }

// By code point below 0x144: the byte, -1 for none.
const std::array<int16_t, 0x144>& bytes_of_alphabet() {
  static const std::array<int16_t, 0x144> table = [] {
    std::array<int16_t, 0x144> t{};
    t.fill(-1);
    int16_t next = 0x100;
    for (int16_t b = 0; b < 256; ++b) t[static_cast<size_t>(printable(static_cast<char32_t>(b)) ? b : next++)] = b;
    return t;
  }();
  return table;
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  static const std::array<std::string, 256> alphabet = [] {
    std::array<std::string, 256> a;
    for (char32_t c = 0; c < 0x144; ++c)
      if (const int16_t b = bytes_of_alphabet()[c]; b >= 0) append_code_point(a[static_cast<size_t>(b)], c);
    return a;
  }();
  return alphabet;
}

bool read_byte_alphabet(std::string_view written, std::string& bytes) {
  const size_t before = bytes.size();
  for (size_t at = 0; at < written.size();) {
    const CodePoint c = decode_code_point(written, at);
    if (!c.valid || c.value >= 0x144 || bytes_of_alphabet()[c.value] < 0) {
      bytes.resize(before);
      return false;
    }
    bytes.push_back(static_cast<char>(bytes_of_alphabet()[c.value]));
    at += c.length;
  }
  return true;
}

}  // namespace nemo::text::hf

#include "core/text/utf8.hpp"

#include <cstdio>
#include <cstring>

namespace nemo::text {
namespace {

struct Lead {
  uint32_t length;    // 0: no lead byte
  uint8_t low, high;  // range of the second byte, which excludes overlong forms and surrogates
};

Lead classify(uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

CodePoint decode_code_point(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  if (byte(0) < 0x80) return {byte(0), 1, true, false};
  const Lead lead = classify(byte(0));
  if (lead.length == 0) return {0, 1, false, false};
  char32_t value = byte(0) & (0x7Fu >> lead.length);
  for (uint32_t i = 1; i < lead.length; ++i) {
    if (at + i >= text.size()) return {0, i, false, true};
    const uint8_t low = i == 1 ? lead.low : 0x80, high = i == 1 ? lead.high : 0xBF;
    if (byte(i) < low || byte(i) > high) return {0, i, false, false};
    value = (value << 6) | (byte(i) & 0x3Fu);
  }
  return {value, lead.length, true, false};
}

void append_code_point(std::string& out, char32_t value) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
    return;
  }
  const int tail = value < 0x800 ? 1 : value < 0x10000 ? 2 : 3;
  put(((0xFF00u >> (tail + 1)) & 0xFFu) | (value >> (6 * tail)));
  for (int i = tail - 1; i >= 0; --i) put(0x80u | ((value >> (6 * i)) & 0x3Fu));
}

bool is_valid_utf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    uint64_t eight = 0;
    if (bytes.size() - at >= 8) {
      std::memcpy(&eight, bytes.data() + at, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    const CodePoint c = decode_code_point(bytes, at);
    if (!c.valid) return false;
    at += c.length;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const CodePoint c = decode_code_point(bytes, at);
    if (c.valid)
      out.append(bytes.substr(at, c.length));
    else
      append_code_point(out, 0xFFFD);
    at += c.length;
  }
  return out;
}

std::string describe_code_point(char32_t value) {
  char hex[16];
  std::snprintf(hex, sizeof hex, "U+%04X", static_cast<unsigned>(value));
  if (value < 0x20 || (value >= 0x7F && value < 0xA0)) return hex;
  std::string out = "'";
  append_code_point(out, value);
  return out + "' (" + hex + ")";
}

}  // namespace nemo::text

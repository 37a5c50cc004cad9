#include "md5.hpp"

#include <bit>
#include <cmath>
#include <cstring>

namespace nemo::megatron {
namespace {

constexpr size_t kBlock = 64;

// floor(2^32 |sin(i + 1)|), as RFC 1321 defines them.
const std::array<uint32_t, 64>& sines() {
  static const std::array<uint32_t, 64> table = [] {
    std::array<uint32_t, 64> t{};
    for (size_t i = 0; i < t.size(); ++i) t[i] = static_cast<uint32_t>(std::fabs(std::sin(static_cast<double>(i + 1))) * 4294967296.0);
    return t;
  }();
  return table;
}

constexpr int kTurns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

}  // namespace

void Md5::block(const char* at) {
  std::array<uint32_t, 16> word{};
  std::memcpy(word.data(), at, kBlock);
  auto [a, b, c, d] = state_;
  const auto& sine = sines();
  for (uint32_t i = 0; i < 64; ++i) {
    uint32_t mixed = 0, from = 0;
    switch (i / 16) {
      case 0:
        mixed = (b & c) | (~b & d), from = i;
        break;
      case 1:
        mixed = (d & b) | (~d & c), from = (5 * i + 1) % 16;
        break;
      case 2:
        mixed = b ^ c ^ d, from = (3 * i + 5) % 16;
        break;
      default:
        mixed = c ^ (b | ~d), from = 7 * i % 16;
    }
    const uint32_t turned = std::rotl(a + mixed + sine[i] + word[from], kTurns[i / 16][i % 4]);
    a = d, d = c, c = b, b += turned;
  }
  state_[0] += a, state_[1] += b, state_[2] += c, state_[3] += d;
}

void Md5::update(std::string_view bytes) {
  length_ += bytes.size();
  if (!rest_.empty()) {
    const size_t taken = std::min(bytes.size(), kBlock - rest_.size());
    rest_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    if (rest_.size() < kBlock) return;
    block(rest_.data());
    rest_.clear();
  }
  for (; bytes.size() >= kBlock; bytes.remove_prefix(kBlock)) block(bytes.data());
  rest_ = bytes;
}

std::string Md5::hex() {
  const uint64_t bits = length_ * 8;
  update(std::string(1, '\x80'));
  if (rest_.size() > kBlock - 8) update(std::string(kBlock - rest_.size(), '\0'));
  update(std::string(kBlock - 8 - rest_.size(), '\0'));
  update({reinterpret_cast<const char*>(&bits), sizeof bits});
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint32_t word : state_)
    for (int byte = 0; byte < 4; ++byte) {
      const uint32_t value = word >> (8 * byte) & 0xff;
      out += kDigits[value >> 4];
      out += kDigits[value & 15];
    }
  return out;
}

std::string md5(std::string_view bytes) {
  Md5 digest;
  digest.update(bytes);
  return digest.hex();
}

}  // namespace nemo::megatron

// plugins/data/megatron/md5.hpp - MD5 (RFC 1321): names of index maps, and damage of their files. Not for secrets.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace nemo::megatron {

class Md5 {
 public:
  void update(std::string_view bytes);
  // 32 lower-case hexadecimal digits; ends the use of this object.
  [[nodiscard]] std::string hex();

 private:
  void block(const char* at);

  std::array<uint32_t, 4> state_{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  std::string rest_;  // less than a block
  uint64_t length_ = 0;
};

[[nodiscard]] std::string md5(std::string_view bytes);

}  // namespace nemo::megatron

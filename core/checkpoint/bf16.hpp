// core/checkpoint/bf16.hpp - brain floating point: the upper half of an IEEE binary32.
#pragma once

#include <bit>
#include <cstdint>

namespace nemo::checkpoint {

[[nodiscard]] inline float float_of_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Round to nearest, ties to even; NaN stays a (quiet) NaN.
[[nodiscard]] inline uint16_t bf16_of_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace nemo::checkpoint

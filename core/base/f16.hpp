// core/base/f16.hpp - IEEE binary16 to and from binary32, round to nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>

namespace nemo {

// A sum with 0.5, whose last place is that of the subnormal numbers, rounds what is below the smallest normal one. Beyond the largest
// number: infinity. NaN stays a (quiet) NaN.
[[nodiscard]] inline uint16_t f16_of_float(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t u = bits & 0x7FFFFFFFU, sign = (bits >> 16) & 0x8000U;
  if (u > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U);
  if (u >= 0x47800000U) return static_cast<uint16_t>(sign | 0x7C00U);
  if (u < 0x38800000U) return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(u) + 0.5F) - 0x3F000000U));
  return static_cast<uint16_t>(sign | (((u + 0xFFFU + ((u >> 13) & 1U)) >> 13) - (112U << 10)));
}

[[nodiscard]] inline float float_of_f16(uint16_t h) {
  const uint32_t magnitude = (h & 0x7FFFU) << 13, sign = (h & 0x8000U) << 16;
  const auto finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  return std::bit_cast<float>(((h & 0x7C00U) == 0x7C00U ? magnitude | 0x7F800000U : finite) | sign);
}

}  // namespace nemo

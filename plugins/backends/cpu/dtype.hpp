// Element types of the CPU backend: f32, f64, bf16 and f16 (storage only; arithmetic is f32), and the 8-bit floats of quantized tensors.
// Conversions round to nearest, ties to even. Those of 16 and 8 bits are branch-free, so that loops over them vectorise.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "nemo/cpp/node.hpp"

namespace nemo::cpu {

using sdk::name_of;
using sdk::size_of;

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
struct e4m3 {
  uint8_t bits;
};
struct e5m2 {
  uint8_t bits;
};

// The type that arithmetic on T is done in.
template <class T>
struct ComputeOf {
  using type = T;
};
template <>
struct ComputeOf<bf16> {
  using type = float;
};
template <>
struct ComputeOf<f16> {
  using type = float;
};
template <class T>
using compute_t = typename ComputeOf<T>::type;

[[gnu::always_inline]] inline float widen(float x) { return x; }
[[gnu::always_inline]] inline double widen(double x) { return x; }
[[gnu::always_inline]] inline float widen(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

// The exponents of narrow formats are moved by a product, which makes their subnormal numbers right as well.
[[gnu::always_inline]] inline float widen_bits(uint32_t magnitude, float factor, bool special, uint32_t sign) {
  const uint32_t plain = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * factor);
  return std::bit_cast<float>((special ? magnitude | 0x7f800000u : plain) | sign);
}
[[gnu::always_inline]] inline float widen(f16 x) {
  const uint32_t u = x.bits;
  return widen_bits((u & 0x7fffu) << 13, 0x1p112f, (u & 0x7c00u) == 0x7c00u, (u & 0x8000u) << 16);
}
[[gnu::always_inline]] inline float widen(e5m2 x) { return widen(f16{static_cast<uint16_t>(x.bits << 8)}); }
[[gnu::always_inline]] inline float widen(e4m3 x) {
  const uint32_t u = x.bits;
  return widen_bits((u & 0x7fu) << 20, 0x1p120f, (u & 0x7fu) == 0x7fu, (u & 0x80u) << 24);
}

// |x| as a float of kBits mantissa bits and exponent bias kBias, not above `largest`. Below the smallest normal number a sum with kUnit,
// whose last place is that of the subnormals, rounds.
template <int kBits, int kBias>
[[gnu::always_inline]] inline uint32_t round_magnitude(uint32_t u, float smallest, float unit) {
  constexpr int kDrop = 23 - kBits;
  const uint32_t normal = ((u + (1u << (kDrop - 1)) - 1 + ((u >> kDrop) & 1u)) >> kDrop) - ((127u - kBias) << kBits);
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(u) + unit) - std::bit_cast<uint32_t>(unit);
  return u < std::bit_cast<uint32_t>(smallest) ? tiny : normal;
}
// Beyond the largest number: infinity.
[[gnu::always_inline]] inline f16 round_to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), u = bits & 0x7fffffffu;
  const uint32_t finite = round_magnitude<10, 15>(u, 0x1p-14f, 0x1p-1f);
  const uint32_t rounded = u > 0x7f800000u ? 0x7e00u : u >= 0x47800000u ? 0x7c00u : finite;
  return {static_cast<uint16_t>(rounded | (bits >> 16 & 0x8000u))};
}
// Beyond the largest number: the largest number.
[[gnu::always_inline]] inline e4m3 round_to_e4m3(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), u = bits & 0x7fffffffu, top = std::bit_cast<uint32_t>(448.0f);
  const uint32_t finite = round_magnitude<3, 7>(u < top ? u : top, 0x1p-6f, 0x1p14f);
  return {static_cast<uint8_t>((u > 0x7f800000u ? 0x7fu : finite) | (bits >> 24 & 0x80u))};
}
[[gnu::always_inline]] inline e5m2 round_to_e5m2(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), u = bits & 0x7fffffffu, top = std::bit_cast<uint32_t>(57344.0f);
  const uint32_t finite = round_magnitude<2, 15>(u < top ? u : top, 0x1p-14f, 0x1p7f);
  return {static_cast<uint8_t>((u > 0x7f800000u ? 0x7fu : finite) | (bits >> 24 & 0x80u))};
}

// NaN stays NaN (quiet).
[[gnu::always_inline]] inline bf16 round_to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t nan = (u >> 16) | 0x40u;
  return {static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

template <class T, class C>
[[gnu::always_inline]] inline T narrow(C x) {
  if constexpr (std::is_same_v<T, bf16>)
    return round_to_bf16(static_cast<float>(x));
  else if constexpr (std::is_same_v<T, f16>)
    return round_to_f16(static_cast<float>(x));
  else
    return static_cast<T>(x);
}

inline constexpr nemo_dtype kComputes[] = {NEMO_DTYPE_F32, NEMO_DTYPE_F64, NEMO_DTYPE_BF16, NEMO_DTYPE_F16};
inline constexpr sdk::Dialect kDialect{"cpu backend", kComputes};

inline bool is_floating(nemo_dtype d) { return std::find(std::begin(kComputes), std::end(kComputes), d) != std::end(kComputes); }

// Calls f with a value of the C++ type of a floating dtype (f32, f64, bf16, f16); the caller has checked is_floating.
template <class F>
decltype(auto) with_type(nemo_dtype d, F&& f) {
  if (d == NEMO_DTYPE_F64) return f(double{});
  if (d == NEMO_DTYPE_BF16) return f(bf16{});
  if (d == NEMO_DTYPE_F16) return f(f16{});
  return f(float{});
}

// The same for what can be read: floating or 8-bit.
template <class F>
decltype(auto) with_stored_type(nemo_dtype d, F&& f) {
  if (d == NEMO_DTYPE_E4M3) return f(e4m3{});
  if (d == NEMO_DTYPE_E5M2) return f(e5m2{});
  return with_type(d, std::forward<F>(f));
}

}  // namespace nemo::cpu

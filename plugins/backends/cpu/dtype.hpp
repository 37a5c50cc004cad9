// Element types of the CPU backend: f32, f64 and bf16 (storage only; arithmetic is f32). Conversions round to nearest, ties to even.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "nemo/cpp/node.hpp"

namespace nemo::cpu {

using sdk::name_of;
using sdk::size_of;

struct bf16 {
  uint16_t bits;
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
template <class T>
using compute_t = typename ComputeOf<T>::type;

[[gnu::always_inline]] inline float widen(float x) { return x; }
[[gnu::always_inline]] inline double widen(double x) { return x; }
[[gnu::always_inline]] inline float widen(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

// Branch-free, so that loops over it vectorise; NaN stays NaN (quiet).
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
  else
    return static_cast<T>(x);
}

inline constexpr nemo_dtype kComputes[] = {NEMO_DTYPE_F32, NEMO_DTYPE_F64, NEMO_DTYPE_BF16};
inline constexpr sdk::Dialect kDialect{"cpu backend", kComputes};

inline bool is_floating(nemo_dtype d) { return std::find(std::begin(kComputes), std::end(kComputes), d) != std::end(kComputes); }

// Calls f with a value of the C++ type of a floating dtype (f32, f64, bf16); the caller has checked is_floating.
template <class F>
decltype(auto) with_type(nemo_dtype d, F&& f) {
  if (d == NEMO_DTYPE_F64) return f(double{});
  if (d == NEMO_DTYPE_BF16) return f(bf16{});
  return f(float{});
}

}  // namespace nemo::cpu

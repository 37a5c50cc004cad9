// Elementary functions that vectorise. float: own polynomials, errors of at most about 2 ulp; double: the C library.
// Included after kernels/arch.hpp.
#pragma once

namespace nemo::cpu::NEMO_CPU_NS {

template <class T>
inline T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}

// e^x = 2^n e^r, |r| <= ln2 / 2; 2^n in two factors so that results below the smallest normal number come out right.
[[gnu::always_inline]] inline float exp_(float x) {
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float n = __builtin_rintf(x * 1.44269504f);
  float r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.3941116e-3f;
  p = p * r + 8.3751328e-3f;
  p = p * r + 4.1666353e-2f;
  p = p * r + 1.6666415e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const int32_t k = static_cast<int32_t>(n), half = k >> 1;
  return p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((k - half + 127) << 23);
}
inline double exp_(double x) { return std::exp(x); }

[[gnu::always_inline]] inline float tanh_(float x) {
  const float a = __builtin_fabsf(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = p * z * x + x;
  const float large = __builtin_copysignf(1.0f - 2.0f / (exp_(2.0f * a) + 1.0f), x);
  return select(a < 0.625f, small, large);
}
inline double tanh_(double x) { return std::tanh(x); }

// erf: odd polynomial up to 1, 1 - e^(-x^2) Q(1 / (1 + x/2)) beyond (Chebyshev fits of this project).
[[gnu::always_inline]] inline float erf_(float x) {
  const float a = __builtin_fabsf(x), z = x * x;
  float p = -9.6670443e-6f;
  p = p * z + 1.1265959e-4f;
  p = p * z - 8.4840804e-4f;
  p = p * z + 5.2210318e-3f;
  p = p * z - 2.6865430e-2f;
  p = p * z + 1.1283792e-1f;
  p = p * z - 3.7612638e-1f;
  p = p * z + 1.12837917f;
  const float b = select(a > 4.2f, 4.2f, a), t = 1.0f / (1.0f + 0.5f * b);
  float q = 1.2760662e-2f;
  q = q * t + 6.8497656e-2f;
  q = q * t - 3.8331382e-1f;
  q = q * t + 4.7722963e-1f;
  q = q * t - 5.1425951e-2f;
  q = q * t + 3.2771998e-1f;
  q = q * t + 2.6447701e-1f;
  q = q * t + 2.8426527e-1f;
  q = q * t - 1.1622376e-4f;
  const float large = __builtin_copysignf(1.0f - exp_(-b * b) * q, x);
  return select(a < 1.0f, x * p, large);
}
inline double erf_(double x) { return std::erf(x); }

template <class C>
inline C sigmoid_(C x) {
  return C(1) / (C(1) + exp_(-x));
}

// log(1 + u) for u in [0, 1]: 2 artanh(u / (2 + u)) as a series.
[[gnu::always_inline]] inline float log1p_unit(float u) {
  const float s = u / (2.0f + u), z = s * s;
  float p = 1.0f / 15;
  p = p * z + 1.0f / 13;
  p = p * z + 1.0f / 11;
  p = p * z + 1.0f / 9;
  p = p * z + 1.0f / 7;
  p = p * z + 1.0f / 5;
  p = p * z + 1.0f / 3;
  return 2.0f * (p * z * s + s);
}
inline double log1p_unit(double u) { return std::log1p(u); }

template <class C>
inline C softplus_(C x) {
  const C a = x < C(0) ? -x : x;
  return (x > C(0) ? x : C(0)) + log1p_unit(exp_(-a));
}

// sin and cos of position * frequency, reduced in double so that positions up to 2^20 keep float accuracy.
[[gnu::always_inline]] inline void sincos_(double angle, float& s, float& c) {
  const double n = __builtin_rint(angle * 0.63661977236758134308);
  const float r = static_cast<float>((angle - n * 1.57079632679489655800) - n * 6.12323399573676603587e-17);
  const int32_t q = static_cast<int32_t>(n);
  const float z = r * r;
  const float sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
  const float cosine = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const bool swap = (q & 1) != 0;
  const float a = select(swap, cosine, sine), b = select(swap, sine, cosine);
  s = select((q & 2) != 0, -a, a);
  c = select(((q + 1) & 2) != 0, -b, b);
}
inline void sincos_(double angle, double& s, double& c) { s = std::sin(angle), c = std::cos(angle); }

}  // namespace nemo::cpu::NEMO_CPU_NS

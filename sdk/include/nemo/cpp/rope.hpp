// nemo/cpp/rope.hpp - frequencies of rotary position embeddings, plain and stretched to longer contexts.
//
// A pair i of a head of `dim` elements turns by position * inverse[i]; `scale` multiplies the turned vectors (the attributes inv_freq and
// scale of op "rope"). Computed in f64.
// Su et al. 2021 (RoPE), Chen et al. 2023 (linear), Grattafiori et al. 2024 (Llama 3), Peng et al. 2023 (YaRN), Ding et al. 2024
// (LongRoPE).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace nemo::sdk {
inline namespace v1 {

enum class RopeType { kNone, kLinear, kLlama3, kYarn, kLong };

struct RopeScaling {
  RopeType type = RopeType::kNone;
  double factor = 1;                // new context / original context
  double original_positions = 0;    // context of the original training; llama3, yarn and longrope need it
  double low_freq_factor = 1;       // llama3: wavelengths above original / low are stretched in full
  double high_freq_factor = 4;      // llama3: wavelengths below original / high are kept
  double beta_fast = 32;            // yarn: pairs that turn more often than this within the original context are kept
  double beta_slow = 1;             // yarn: pairs that turn less often than this are stretched in full
  double attention_factor = 0;      // yarn, longrope: scale of the turned vectors; 0 = from factor (and mscale)
  double mscale = 0;                // yarn, DeepSeek's form: scale = m(mscale) / m(mscale_all_dim) where both are set,
  double mscale_all_dim = 0;        //   m(s) = 0.1 s ln(factor) + 1
  bool truncate = true;             // yarn: the ramp starts and ends at whole pairs
  std::vector<double> pair_factor;  // longrope: divides the frequency of each pair
};

struct RopeFrequencies {
  std::vector<double> inverse;  // [dim / 2]
  double scale = 1;
};

namespace rope {

constexpr double kTau = 6.283185307179586476925286766559;

// Share of each pair that is stretched: 0 keeps the frequency, 1 divides it by the factor.
inline double stretched_llama3(double frequency, const RopeScaling& s) {
  const double turns = s.original_positions * frequency / kTau;
  return 1 - std::clamp((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
}

// Pair (as a real number) that turns `turns` times within the original context.
inline double pair_of_turns(double turns, double dim, double base, const RopeScaling& s) {
  return dim * std::log(s.original_positions / (turns * kTau)) / (2 * std::log(base));
}

inline double stretched_yarn(double pair, double dim, double base, const RopeScaling& s) {
  double low = pair_of_turns(s.beta_fast, dim, base, s), high = pair_of_turns(s.beta_slow, dim, base, s);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  return std::clamp((pair - low) / (high - low), 0.0, 1.0);
}

inline double yarn_scale(const RopeScaling& s) {
  if (s.attention_factor != 0) return s.attention_factor;
  const auto m = [&](double mscale) { return s.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(s.factor) + 1; };
  return s.mscale != 0 && s.mscale_all_dim != 0 ? m(s.mscale) / m(s.mscale_all_dim) : m(1);
}

inline double long_scale(const RopeScaling& s) {
  if (s.attention_factor != 0) return s.attention_factor;
  return s.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(s.factor) / std::log(s.original_positions));
}

}  // namespace rope

// `dim` = elements of a head that turn (even); `base` = theta. longrope has dim / 2 pair factors.
inline RopeFrequencies rope_frequencies(int64_t dim, double base, const RopeScaling& s = {}) {
  RopeFrequencies out;
  for (int64_t pair = 0; pair < dim / 2; ++pair) {
    const double frequency = std::pow(base, -2.0 * double(pair) / double(dim));
    double stretched = 0;
    if (s.type == RopeType::kLinear) stretched = 1;
    if (s.type == RopeType::kLlama3) stretched = rope::stretched_llama3(frequency, s);
    if (s.type == RopeType::kYarn) stretched = rope::stretched_yarn(double(pair), double(dim), base, s);
    if (s.type == RopeType::kLong)
      out.inverse.push_back(frequency / s.pair_factor.at(size_t(pair)));
    else
      out.inverse.push_back(frequency * (stretched / s.factor + 1 - stretched));
  }
  if (s.type == RopeType::kLong) out.scale = rope::long_scale(s);
  if (s.type == RopeType::kYarn) out.scale = rope::yarn_scale(s);
  return out;
}

}  // namespace v1
}  // namespace nemo::sdk

// nemo/cpp/permutation.hpp - a pseudo-random order of n things with no table.
#pragma once

#include <cstdint>

#include "nemo/cpp/data.hpp"

namespace nemo::sdk {
inline namespace v1 {

// A keyed bijection of [0, n): a balanced Feistel network over the next even number of bits, walked until it lands inside
// (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). O(1) per element, immutable.
class Permutation {
 public:
  Permutation(uint64_t n, uint64_t key);                // n >= 1
  [[nodiscard]] uint64_t operator()(uint64_t i) const;  // requires i < n

 private:
  uint64_t n_, key_, half_mask_;
  int half_bits_;
};

inline Permutation::Permutation(uint64_t n, uint64_t key) : n_(n), key_(key), half_bits_(1) {
  while (half_bits_ < 32 && (uint64_t{1} << (2 * half_bits_)) < n) ++half_bits_;
  half_mask_ = (uint64_t{1} << half_bits_) - 1;
}

inline uint64_t Permutation::operator()(uint64_t i) const {
  constexpr int kRounds = 6;
  do {
    uint64_t left = i >> half_bits_, right = i & half_mask_;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t next = left ^ (mix64(key_ ^ (right << 8 | round)) & half_mask_);
      left = right;
      right = next;
    }
    i = left << half_bits_ | right;
  } while (i >= n_);  // the domain is less than four times n, so this ends after few turns
  return i;
}

}  // namespace v1
}  // namespace nemo::sdk

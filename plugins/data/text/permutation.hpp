// plugins/data/text/permutation.hpp - a pseudo-random order of n things with no table.
#pragma once

#include <cstdint>

namespace nemo::text_data {

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

}  // namespace nemo::text_data

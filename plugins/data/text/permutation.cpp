#include "permutation.hpp"

#include "nemo/cpp/data.hpp"

namespace nemo::text_data {

Permutation::Permutation(uint64_t n, uint64_t key) : n_(n), key_(key), half_bits_(1) {
  while (half_bits_ < 32 && (uint64_t{1} << (2 * half_bits_)) < n) ++half_bits_;
  half_mask_ = (uint64_t{1} << half_bits_) - 1;
}

uint64_t Permutation::operator()(uint64_t i) const {
  constexpr int kRounds = 6;
  do {
    uint64_t left = i >> half_bits_, right = i & half_mask_;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t next = left ^ (sdk::mix64(key_ ^ (right << 8 | round)) & half_mask_);
      left = right;
      right = next;
    }
    i = left << half_bits_ | right;
  } while (i >= n_);  // the domain is less than four times n, so this ends after few turns
  return i;
}

}  // namespace nemo::text_data

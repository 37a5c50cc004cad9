// Philox4x32-10 (Salmon et al. 2011).
#pragma once

#include <cstdint>

namespace nemo::cuda {

struct PhiloxWords {
  uint32_t word[4];
};

__device__ __forceinline__ PhiloxWords philox(uint32_t key0, uint32_t key1, uint64_t group, uint64_t step) {
  uint32_t c0 = static_cast<uint32_t>(group), c1 = static_cast<uint32_t>(group >> 32), c2 = static_cast<uint32_t>(step),
           c3 = static_cast<uint32_t>(step >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high_a = __umulhi(0xD2511F53u, c0), low_a = 0xD2511F53u * c0;
    const uint32_t high_b = __umulhi(0xCD9E8D57u, c2), low_b = 0xCD9E8D57u * c2;
    c0 = high_b ^ c1 ^ key0;
    c2 = high_a ^ c3 ^ key1;
    c1 = low_b;
    c3 = low_a;
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace nemo::cuda

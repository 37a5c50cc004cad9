#include "numpy_random.hpp"

namespace nemo::megatron {

uint64_t NumpyRandom::interval(uint64_t max) {
  if (max == 0) return 0;
  uint64_t mask = max;
  for (int shift = 1; shift < 64; shift *= 2) mask |= mask >> shift;
  uint64_t value = 0;
  do {
    if (max <= 0xffffffffu) {
      value = next_u32() & mask;
    } else {
      const uint64_t high = next_u32();
      value = (high << 32 | next_u32()) & mask;
    }
  } while (value > max);
  return value;
}

}  // namespace nemo::megatron

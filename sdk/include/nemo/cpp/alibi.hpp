// nemo/cpp/alibi.hpp - slopes of attention's linear biases. Press et al. 2022, "Train Short, Test Long".
#pragma once

#include <cmath>
#include <cstdint>

namespace nemo::sdk {
inline namespace v1 {

// Of head `head` of `heads`: 2^(-8 (head + 1) / n) for n = heads, a power of 2. Otherwise n is the power below, and the heads from n on
// have every second slope of 2 n heads, as in the authors' code.
inline double alibi_slope(int64_t head, int64_t heads) {
  int64_t n = 1;
  while (2 * n <= heads) n *= 2;
  if (head >= n) head = 2 * (head - n), n *= 2;
  return std::exp2(-8.0 * static_cast<double>(head + 1) / static_cast<double>(n));
}

}  // namespace v1
}  // namespace nemo::sdk

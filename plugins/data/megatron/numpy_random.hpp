// plugins/data/megatron/numpy_random.hpp - numpy.random.RandomState as far as index maps need it, bit for bit.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <utility>

namespace nemo::megatron {

// MT19937 seeded as RandomState(seed) seeds it from an integer (the generator's own init_genrand, which std::mt19937 uses too).
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : generator_(seed) {}

  uint32_t next_u32() { return static_cast<uint32_t>(generator_()); }
  // Uniform in [0, max]: masked rejection, as numpy's random_interval.
  uint64_t interval(uint64_t max);

  // RandomState.shuffle of a one-dimensional array: Fisher-Yates from the back.
  template <class T>
  void shuffle(std::span<T> x) {
    for (size_t i = x.size(); i-- > 1;) std::swap(x[i], x[interval(i)]);
  }

 private:
  std::mt19937 generator_;
};

}  // namespace nemo::megatron

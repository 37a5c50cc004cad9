// plugins/data/denoising/draws.hpp - the random numbers of one sample: a function of (key, sample), so that any sample can be read alone.
#pragma once

#include "nemo/cpp/data.hpp"

namespace nemo::denoising {

class Draws {
 public:
  Draws(uint64_t key, int64_t sample) : key_(sdk::counter_random(key, static_cast<uint64_t>(sample))) {}
  // Uniform on [0, n), n > 0.
  int64_t below(int64_t n) { return static_cast<int64_t>(sdk::bounded(next(), static_cast<uint64_t>(n))); }
  // True with probability p.
  bool happens(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }

 private:
  uint64_t next() { return sdk::counter_random(key_, count_++); }
  uint64_t key_, count_ = 0;
};

// The key of a split's stream.
inline uint64_t stream_key(const sdk::DataRequest& request) {
  uint64_t key = sdk::mix64(static_cast<uint64_t>(request.seed));
  for (const char c : request.split) key = sdk::mix64(key ^ static_cast<uint8_t>(c));
  return key;
}

}  // namespace nemo::denoising

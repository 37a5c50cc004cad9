// core/runtime/ceilings.hpp - what the device reaches at best: the bandwidth of a large copy and the rate of a large matrix product.
#pragma once

#include "core/runtime/device.hpp"

namespace nemo::runtime {

struct Ceilings {
  double copy = 0;           // bytes per second, read and written bytes counted
  double product = 0;        // FLOP per second over about a second without pause: what a step can hope for
  double product_short = 0;  // the best single launch from rest
  int64_t product_size = 0;  // the product is size^3
  double narrow = 0;         // as `product`, of 8-bit operands; 0: not measured
};

// Measures on random data in `dtype`; takes and gives back up to 1.5 GiB of device memory. A few seconds.
[[nodiscard]] Ceilings measure_ceilings(Device& device, graph::DType dtype);
// The rate of 8-bit products with a result in `dtype`, sustained.
[[nodiscard]] double measure_narrow_product(Device& device, graph::DType dtype);

}  // namespace nemo::runtime

// core/checkpoint/boxes.hpp - a run of consecutive elements of a tensor as boxes (hyperslabs). Pure.
#pragma once

#include <cstdint>
#include <vector>

namespace nemo::checkpoint {

// Elements of a tensor: `size` of them in each dimension, from `start` on; row-major. `offset`: where they begin in the run.
struct Box {
  std::vector<int64_t> start, size;
  int64_t offset = 0;
  [[nodiscard]] int64_t elements() const;
  bool operator==(const Box&) const = default;
};

// Elements [first, first + count) of a tensor of that shape, row-major, as few boxes in order: at most twice the number of dimensions.
[[nodiscard]] std::vector<Box> boxes_of(const std::vector<int64_t>& shape, int64_t first, int64_t count);

}  // namespace nemo::checkpoint

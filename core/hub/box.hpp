// core/hub/box.hpp - part of a tensor in another order of dimensions: the copy behind every rule of a Hugging Face map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nemo::hub {

// Elements of a row-major tensor with dims `view`, cut to [start, start + length) in each dimension, then permuted: dimension i of the
// result is dimension order[i] of the view. All four have the view's rank.
struct Box {
  std::vector<int64_t> view, start, length, order;

  [[nodiscard]] uint64_t count() const;   // elements of the part
  [[nodiscard]] bool is_run() const;      // the part is one run of the tensor's memory, in its order
  [[nodiscard]] uint64_t offset() const;  // of the part's first element, in elements
};

// The part, dense in the result's order, to and from the tensor. `element` = bytes of one element: 1, 2, 4 or 8.
void gather(const std::byte* tensor, const Box& box, size_t element, std::byte* dense);
void scatter(const std::byte* dense, const Box& box, size_t element, std::byte* tensor);

}  // namespace nemo::hub

// core/passes/layout.hpp - where parameters lie: flat ranges by block, members of a group side by side.
//
// Offsets are in elements and hold alike for parameters, gradients, master weights and moments, so a range is a range in all of them.
// Within a block, decayed parameters come first; each (block, decay) range is one segment for the optimizer. Frozen parameters follow
// behind all trainable ones and have no gradient or state. Unused gaps (alignment) stay zero in every buffer.
#pragma once

#include <cstdint>
#include <vector>

#include "core/graph/graph.hpp"

namespace nemo::passes {

struct Segment {
  int64_t begin = 0, end = 0;  // elements
  bool decay = true;
  int32_t block = -1;
};

struct FlatLayout {
  std::vector<int64_t> offset;  // by parameter index
  std::vector<Segment> segments;
  int64_t trainable = 0;  // elements up to here have gradients and state
  int64_t total = 0;
};

// Requires that every parameter is a member of at most one group.
[[nodiscard]] FlatLayout layout(const graph::Graph& graph);

}  // namespace nemo::passes

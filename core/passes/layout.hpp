// core/passes/layout.hpp - where parameters lie: flat ranges by block, members of a group side by side.
//
// Offsets are in elements and hold alike for parameters, gradients, master weights and moments, so a range is a range in all of them.
// Within a block, decayed parameters come first; each range of a block that is treated alike is one segment for the optimizer. Frozen
// parameters follow behind all trainable ones and have no gradient or state. Unused gaps (alignment) stay zero in every buffer.
//
// Where ranks share the buffers out (ZeRO), the flat range is covered by units, each a whole number of blocks and divisible by the number
// of shards: shard i of a unit is its i-th equal part. Where nothing is shared, there is one unit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"

namespace nemo::passes {

struct Segment {
  int64_t begin = 0, end = 0;  // elements
  bool decay = true;
  int32_t block = -1;
  std::vector<std::string> partial;  // mesh axes over which its gradients are still to be summed
  std::vector<std::string> split;    // mesh axes that split its parameters: along the others, ranks hold the same
  bool counts = true;                // false: a copy of parameters that another pipeline rank counts
};

// A range whose parts lie with the shards.
struct Unit {
  int64_t begin = 0, end = 0;  // elements
};

struct LayoutOptions {
  int64_t shards = 1;
  int64_t unit_elements = INT64_MAX;  // a unit takes whole blocks until it has this many
  bool tail_apart = false;            // parameters outside blocks that are first read behind the blocks follow behind them
};

struct FlatLayout {
  std::vector<int64_t> offset;  // by parameter index
  std::vector<Segment> segments;
  std::vector<Unit> units;  // cover [0, total); no unit has both trainable and frozen parameters
  int64_t shards = 1;
  int64_t trainable = 0;  // elements up to here have gradients and state
  int64_t total = 0;
};

// Requires that every parameter is a member of at most one group.
[[nodiscard]] FlatLayout layout(const graph::Graph& graph, const LayoutOptions& options = {});

}  // namespace nemo::passes

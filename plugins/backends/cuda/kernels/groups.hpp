// Rows sorted by the expert that serves them, on the device: a counting sort, stable in the order of the rows, the same in every run (the
// only atomics count integers).
#pragma once

#include "../kernel.hpp"

namespace nemo::cuda {

struct GroupOrder {
  int64_t rows, experts, first_expert;
  int tile_rows;  // rows of a tile of the products that use the lists

  // Device memory, each list in the order of groups; group `experts` has the rows whose id lies outside of [first_expert, + experts).
  struct Lists {
    int32_t* order;  // [rows]
    int32_t* first;  // [experts + 2] begin of each group in order; the last one is `rows`
    int32_t* tile;   // [experts + 2] tiles in front of each group; the last one is their number
  };
  // What else a caller may want of the sort; nullptr: not wanted.
  struct More {
    int32_t* slots = nullptr;  // [rows] place of each row in order
    int32_t* ids = nullptr;    // [rows] id of each row of order
    int* fault = nullptr;      // becomes kExpertFault where an id lies outside
  };

  // Refuses more experts than the kernels can count.
  void check(const Node& node) const;
  int64_t groups() const { return experts + 1; }
  // No fewer than there are, whatever the ids.
  int64_t most_tiles() const { return rows / tile_rows + groups(); }
  uint64_t workspace() const;
  Lists run(const int32_t* ids, void* workspace, const More& more, cudaStream_t stream) const;
  Lists run(const int32_t* ids, void* workspace, cudaStream_t stream) const { return run(ids, workspace, More{}, stream); }
};

}  // namespace nemo::cuda

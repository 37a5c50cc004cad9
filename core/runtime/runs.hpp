// core/runtime/runs.hpp - a rank's part of a tensor as runs of consecutive elements of the whole one. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/partition.hpp"

namespace nemo::runtime {

struct Run {
  int64_t local = 0;   // first element within the rank's part, row-major
  int64_t global = 0;  // the same element within the whole tensor, row-major
  int64_t length = 0;
};

// First index of the part in each dimension of the whole tensor; `dims` after partition. A dimension that several axes split is split over
// the outermost first.
[[nodiscard]] std::vector<int64_t> starts_of(const graph::Dims& dims, const passes::Plan& plan, const passes::Coordinates& coordinates);

// Elements [first, first + count) of the part.
[[nodiscard]] std::vector<Run> runs_of(const graph::Dims& dims, const graph::Dims& global_dims, const std::vector<int64_t>& starts,
                                       int64_t first, int64_t count);

}  // namespace nemo::runtime

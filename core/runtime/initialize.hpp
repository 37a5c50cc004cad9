// core/runtime/initialize.hpp - initial weights that do not depend on the layout.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/graph/graph.hpp"

namespace nemo::runtime {

// Fills out[i] with the value of element first + i of parameter `name`: Philox keyed by (seed, FNV-1a of the name), counter = element index
// / 4; normals by Box-Muller. The same element has the same value whatever part of the parameter is asked for. Any thread.
void initialize(std::span<float> out, int64_t first, std::string_view name, const graph::Init& init, int64_t seed);

}  // namespace nemo::runtime

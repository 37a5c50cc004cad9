// core/runtime/convert.hpp - f32 on the host to and from the dtypes of parameter memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/graph/graph.hpp"

namespace nemo::runtime {

// Round to nearest even. f32, f64, bf16, f16 only; throws nemo::Error otherwise. `out` holds in.size() elements of `dtype`.
void from_f32(std::span<const float> in, graph::DType dtype, std::byte* out);
void to_f32(const std::byte* in, graph::DType dtype, std::span<float> out);

}  // namespace nemo::runtime

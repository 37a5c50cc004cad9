// Element types of the CUDA backend: f32, bf16 and f16 (storage only; arithmetic is f32).
#pragma once

#include <algorithm>

#include "nemo/cpp/node.hpp"

namespace nemo::cuda {

using sdk::name_of;
using sdk::size_of;

inline constexpr nemo_dtype kComputes[] = {NEMO_DTYPE_F32, NEMO_DTYPE_BF16, NEMO_DTYPE_F16};
inline constexpr sdk::Dialect kDialect{"cuda backend", kComputes};

inline bool is_floating(nemo_dtype d) { return std::find(std::begin(kComputes), std::end(kComputes), d) != std::end(kComputes); }

}  // namespace nemo::cuda

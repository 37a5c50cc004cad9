// Element types of the CUDA backend: f32 and bf16 (storage only; arithmetic is f32).
#pragma once

#include <cstdint>
#include <string_view>

#include "nemo/abi.h"

namespace nemo::cuda {

inline bool is_floating(nemo_dtype d) { return d == NEMO_DTYPE_F32 || d == NEMO_DTYPE_BF16; }

constexpr int64_t size_of(nemo_dtype d) {
  switch (d) {
    case NEMO_DTYPE_F64:
    case NEMO_DTYPE_I64:
      return 8;
    case NEMO_DTYPE_F32:
    case NEMO_DTYPE_I32:
      return 4;
    case NEMO_DTYPE_BF16:
    case NEMO_DTYPE_F16:
      return 2;
    default:
      return 1;
  }
}

constexpr std::string_view name_of(nemo_dtype d) {
  constexpr std::string_view names[] = {"none", "f32", "f64", "bf16", "f16", "i32", "i64", "u8", "e4m3", "e5m2"};
  return d >= 0 && d < 10 ? names[d] : names[0];
}

}  // namespace nemo::cuda

// core/checkpoint/tensor.hpp - tensors as a checkpoint sees them: a name, a dtype, a shape, and contiguous row-major host memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "nemo/abi.h"

namespace nemo::checkpoint {

// Groups that the train loop uses. Any other "a/b" path is legal too.
inline constexpr const char* kParameters = "parameters";
inline constexpr const char* kExpAvg = "optimizer/exp_avg";
inline constexpr const char* kExpAvgSq = "optimizer/exp_avg_sq";
inline constexpr const char* kMaster = "optimizer/master";

// Borrowed. dtype is one of f32 f64 bf16 f16 i32 i64 u8; shape {} is a scalar; a size of 0 is legal.
struct TensorView {
  std::string name;
  nemo_dtype dtype;
  std::vector<int64_t> shape;
  const void* data;
};

// Borrowed memory that a read fills; the same words as TensorView.
struct TensorSlot {
  std::string name;
  nemo_dtype dtype;
  std::vector<int64_t> shape;
  void* data;
};

struct TensorInfo {
  nemo_dtype dtype;
  std::vector<int64_t> shape;
};

// Bytes of one element. Throws kUnsupported for a dtype that checkpoints do not hold.
[[nodiscard]] size_t element_bytes(nemo_dtype dtype);
// "f32", "bf16" ...; "dtype 42" if unknown.
[[nodiscard]] std::string dtype_name(nemo_dtype dtype);
[[nodiscard]] uint64_t element_count(std::span<const int64_t> shape);
// "f32 [2 3]"
[[nodiscard]] std::string describe(nemo_dtype dtype, std::span<const int64_t> shape);

}  // namespace nemo::checkpoint

#include "core/checkpoint/tensor.hpp"

#include "core/base/error.hpp"

namespace nemo::checkpoint {

size_t element_bytes(nemo_dtype dtype) {
  switch (dtype) {
    case NEMO_DTYPE_F64:
    case NEMO_DTYPE_I64:
      return 8;
    case NEMO_DTYPE_F32:
    case NEMO_DTYPE_I32:
      return 4;
    case NEMO_DTYPE_BF16:
    case NEMO_DTYPE_F16:
      return 2;
    case NEMO_DTYPE_U8:
      return 1;
    default:
      throw Error(Code::kUnsupported, "a checkpoint holds f32 f64 bf16 f16 i32 i64 u8, not " + dtype_name(dtype));
  }
}

std::string dtype_name(nemo_dtype dtype) {
  static constexpr const char* kNames[] = {"f32", "f64", "bf16", "f16", "i32", "i64", "u8", "e4m3", "e5m2"};
  if (dtype < 1 || dtype > static_cast<nemo_dtype>(std::size(kNames))) return "dtype " + std::to_string(dtype);
  return kNames[dtype - 1];
}

uint64_t element_count(std::span<const int64_t> shape) {
  uint64_t count = 1;
  for (const int64_t size : shape) count *= static_cast<uint64_t>(size);
  return count;
}

std::string describe(nemo_dtype dtype, std::span<const int64_t> shape) {
  std::string text = dtype_name(dtype) + " [";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : " ") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace nemo::checkpoint

// core/hub/mxfp4.hpp - weights in the microscaling format MXFP4 as gpt-oss publishes them, read as floating point numbers.
// Open Compute Project 2023, "OCP Microscaling Formats (MX) Specification v1.0".
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/hub/safetensors.hpp"

namespace nemo::hub {

// Tensor X lies as X_blocks, U8 [experts, rows, groups, 16], and X_scales, U8 [experts, rows, groups]: a group is 32 numbers of a row, two
// in a byte (e2m1, the first in the low half), times 2^(scale - 127). X itself is [experts, 32 groups, rows]: rows become columns, as
// transformers reads it.
struct PackedTensor {
  StoredTensor tensor;  // X; `begin` is that of the blocks
  const SafetensorsFile *blocks_file, *scales_file;
  const StoredTensor *blocks, *scales;

  // Elements of one expert, dense in X's order, in tensor.dtype (BF16 or F32). Both hold every value exactly; what is beyond them is
  // infinite. Throws Error(kDataLoss), naming `name`, where a scale is 255, which is no number. `work` is scratch memory.
  void expert(int64_t index, const std::string& name, std::vector<std::byte>& out, std::vector<std::byte>& work) const;
  void release() const;
};

// Joins a pair of tensors. Throws Error(kDataLoss) naming file and tensor where they do not fit. `word`: "BF16" or "F32".
[[nodiscard]] PackedTensor packed_tensor(const std::string& name, const ModelFiles::Entry& blocks, const ModelFiles::Entry& scales,
                                         std::string_view word);

}  // namespace nemo::hub

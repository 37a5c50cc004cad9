// tests/e2e/same_tensors.hpp - two checkpoints compared tensor by tensor, byte by byte.
#pragma once

#include <filesystem>
#include <string>

namespace nemo::e2e {

// "" if both hold the same tensors (parameters, master weights, optimizer moments) with the same bytes and stand at the same step and
// sample; else the first difference. Throws nemo::Error where a checkpoint cannot be read.
[[nodiscard]] std::string tensor_difference(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace nemo::e2e

// tests/models/safetensors.hpp - reads the golden files: f32 and i64 tensors, as f64.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace nemo::models_test {

struct Array {
  std::vector<int64_t> shape;
  std::vector<double> data;  // row-major
};

[[nodiscard]] std::map<std::string, Array> read_safetensors(const std::string& path);

}  // namespace nemo::models_test

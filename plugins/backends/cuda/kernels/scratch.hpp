// Device memory for as long as a measurement or a check takes.
#pragma once

#include <algorithm>

#include "../kernel.hpp"

namespace nemo::cuda {

// Throws OUT_OF_MEMORY.
class Scratch {
 public:
  explicit Scratch(uint64_t bytes) { check(cudaMalloc(&data_, std::max<uint64_t>(bytes, 256)), "memory to try kernels"); }
  ~Scratch() { cudaFree(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

}  // namespace nemo::cuda

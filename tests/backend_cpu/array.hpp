// Tensors of the tests: bytes of a dtype with shape and strides, read and written as doubles.
#pragma once

#include <cstdint>
#include <vector>

#include "nemo/tensor.h"

namespace nemo::backend_cpu {

using Shape = std::vector<int64_t>;

class Array {
 public:
  Array() = default;                     // absent
  Array(nemo_dtype dtype, Shape shape);  // zeros, contiguous
  Array(nemo_dtype dtype, Shape shape, const std::vector<double>& values);

  bool present() const { return dtype_ != 0; }
  nemo_dtype dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const;
  double get(int64_t i) const;  // element i in row-major order
  void set(int64_t i, double value);
  std::vector<double> values() const;
  std::vector<char> content() const;  // bytes of the elements in row-major order
  Array as(nemo_dtype dtype) const;
  // The same elements inside a larger buffer: every dimension but the last is padded, so that the strides are those of a slice.
  Array strided() const;

  nemo_tensor describe() const;  // valid while the array lives
  char* data() { return bytes_.data() + base_; }
  const char* data() const { return bytes_.data() + base_; }

 private:
  int64_t offset(int64_t i) const;  // in elements

  nemo_dtype dtype_ = 0;
  Shape shape_, strides_;
  std::vector<char> bytes_;
  int64_t base_ = 0;
};

// Normally distributed, the same for the same seed.
std::vector<double> normal(int64_t n, uint64_t seed, double deviation = 1);
Array normal_array(nemo_dtype dtype, const Shape& shape, uint64_t seed, double deviation = 1);

}  // namespace nemo::backend_cpu

// Golden files of tests/golden/numerics as arrays, and comparison with the tolerances that their README states.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/backend_cpu/device.hpp"
#include "tests/support/safetensors.hpp"

namespace nemo::backend_cpu {

constexpr nemo_dtype F32 = NEMO_DTYPE_F32, F64 = NEMO_DTYPE_F64, BF16 = NEMO_DTYPE_BF16, F16 = NEMO_DTYPE_F16, E4M3 = NEMO_DTYPE_E4M3,
                     E5M2 = NEMO_DTYPE_E5M2, I32 = NEMO_DTYPE_I32, I64 = NEMO_DTYPE_I64;

class Golden {
 public:
  explicit Golden(const std::string& name) : file_(NEMO_SOURCE_DIR "/tests/golden/numerics/" + name + ".safetensors") {}
  bool has(const std::string& tensor) const { return file_.has(tensor); }
  Array get(const std::string& tensor, nemo_dtype dtype) const {
    const auto& t = file_.at(tensor);
    return Array(dtype, t.shape, t.as<double>());
  }
  Shape shape(const std::string& tensor) const { return file_.at(tensor).shape; }

 private:
  nemo::testing::Safetensors file_;
};

struct Tolerance {
  double scaled, relative;
};
constexpr Tolerance kElementwise{2e-6, 1e-5}, kReduction{1e-5, 1e-4}, kBf16{2e-2, 0}, kF16{3e-3, 0};

inline double largest(const std::vector<double>& v) {
  double s = 1;
  for (double x : v) s = std::max(s, std::isfinite(x) ? std::fabs(x) : 1.0);
  return s;
}

// |a - b| <= scaled max(1, max |b|) + relative |b|
inline void expect_close(const Array& a, const Array& b, Tolerance t, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  const std::vector<double> x = a.values(), y = b.values();
  const double s = largest(y);
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i]) continue;
    ASSERT_LE(std::fabs(x[i] - y[i]), t.scaled * s + t.relative * std::fabs(y[i]))
        << what << " at element " << i << ": " << x[i] << " for " << y[i];
  }
}

}  // namespace nemo::backend_cpu

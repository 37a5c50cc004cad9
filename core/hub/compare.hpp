// core/hub/compare.hpp - measures of difference between tensors, and between model folders.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "core/hub/json_text.hpp"

namespace nemo::hub {

struct Closeness {
  double worst = 0;    // largest |a - b| / (absolute + relative |b|); infinite where sizes differ or a value is NaN
  double largest = 0;  // largest |a - b|
  double rms = 0;      // root of the mean of (a - b)^2
};
[[nodiscard]] Closeness closeness(std::span<const float> actual, std::span<const float> expected, double absolute, double relative);

[[nodiscard]] double l2(std::span<const float> values);
// |a - b| / |b|; infinite where sizes differ.
[[nodiscard]] double relative_l2(std::span<const float> actual, std::span<const float> expected);

// Parameters after three steps of Adam, in units of the bound: mean difference 5e-6, 99 % within 2e-5, all within 6e-3 (an element whose
// gradient is rounding noise can move either way).
[[nodiscard]] double after_steps(std::span<const float> actual, std::span<const float> expected);
// What that lets the sum and the sum of absolutes differ: 2e-5 for each element, and 6e-3 for 1 % of them.
[[nodiscard]] double checksum_difference(std::span<const float> actual, double sum, double absolutes);

// The worst of several named values.
struct Worst {
  double worst = 0;
  std::string name;
  size_t count = 0;
  void take(const std::string& from, double value);
  [[nodiscard]] std::string text(const char* what) const;  // "5 tensors, relative L2, worst NAME"
};

[[nodiscard]] std::string number_text(double value);

// "" where both folders have the same tensors (name, dtype, shape, bytes), else the first differences.
[[nodiscard]] std::string tensor_differences(const std::filesystem::path& a, const std::filesystem::path& b);
// "" where `b` has every key of `a` with the same value; 2 and 2.0 differ, 1e1 and 10.0 do not.
[[nodiscard]] std::string config_differences(const Json& a, const Json& b);

}  // namespace nemo::hub

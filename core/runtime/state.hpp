// core/runtime/state.hpp - what a run keeps between steps: parameters, master weights, gradients and optimizer moments, as flat buffers.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/passes/layout.hpp"
#include "core/passes/type.hpp"
#include "core/runtime/device.hpp"

namespace nemo::runtime {

// The buffers of one flat layout. kExpAvg also holds SGD's momentum.
enum class Role { kParameter, kMaster, kGradient, kExpAvg, kExpAvgSq };
constexpr size_t kRoles = 5;

// What is kept for training with a given optimizer, or only parameters for inference.
enum class Keep { kParametersOnly, kMomentum, kTwoMoments };

// Bytes of one role for a layout; 0 where it is not kept.
[[nodiscard]] int64_t state_bytes(Role role, Keep keep, const passes::FlatLayout& layout, const passes::Precision& precision);

class State {
 public:
  // Allocates and zeroes. Copies what it needs of the graph's parameters; borrows the device.
  State(Device& device, const std::vector<graph::Parameter>& parameters, const passes::FlatLayout& layout,
        const passes::Precision& precision, Keep keep);

  // Draws all parameters (and their master copies) by their init rules.
  void initialize(int64_t seed);

  [[nodiscard]] const std::vector<graph::Parameter>& parameters() const { return parameters_; }
  [[nodiscard]] const passes::FlatLayout& layout() const { return layout_; }
  [[nodiscard]] bool keeps(Role role) const { return buffers_[index(role)].bytes() > 0; }
  [[nodiscard]] graph::DType dtype(Role role) const { return dtypes_[index(role)]; }
  [[nodiscard]] std::byte* data(Role role) const { return buffers_[index(role)].data(); }
  // One parameter's part of a buffer: device address and bytes.
  [[nodiscard]] std::byte* address(Role role, size_t parameter) const;
  [[nodiscard]] int64_t bytes(Role role, size_t parameter) const;
  // Index of a parameter by name; throws nemo::Error with the nearest name.
  [[nodiscard]] size_t find(std::string_view name) const;

  // Host copies as f32. Writing a parameter also sets its master copy.
  [[nodiscard]] std::vector<float> read(Role role, size_t parameter) const;
  void write_parameter(size_t parameter, std::span<const float> values);

 private:
  static size_t index(Role role) { return static_cast<size_t>(role); }
  Device& device_;
  std::vector<graph::Parameter> parameters_;
  passes::FlatLayout layout_;
  std::array<graph::DType, kRoles> dtypes_{};
  std::array<Buffer, kRoles> buffers_;
};

}  // namespace nemo::runtime

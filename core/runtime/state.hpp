// core/runtime/state.hpp - what a run keeps between steps: parameters, master weights, gradients and optimizer moments, as flat buffers.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/passes/layout.hpp"
#include "core/passes/type.hpp"
#include "core/runtime/device.hpp"
#include "core/runtime/ranks.hpp"
#include "core/runtime/runs.hpp"

namespace nemo::runtime {

// The buffers of one flat layout. kExpAvg also holds SGD's momentum.
enum class Role { kParameter, kMaster, kGradient, kExpAvg, kExpAvgSq };
constexpr size_t kRoles = 5;

// What is kept for training with a given optimizer, or only parameters for inference.
enum class Keep { kParametersOnly, kMomentum, kTwoMoments };

// This rank's share of the flat buffers.
struct Share {
  int zero_stage = 0;  // as Plan::zero_stage()
  int64_t shard = 0, shards = 1;
  [[nodiscard]] bool is_sharded(Role role) const {
    const int from = role == Role::kParameter ? 3 : role == Role::kGradient ? 2 : 1;
    return shards > 1 && zero_stage >= from;
  }
};

[[nodiscard]] Share share_of(const Ranks& ranks);

// Bytes of one role for a layout; 0 where it is not kept.
[[nodiscard]] int64_t state_bytes(Role role, Keep keep, const passes::FlatLayout& layout, const passes::Precision& precision,
                                  const Share& share = {});

class State {
 public:
  // Allocates and zeroes. Copies what it needs of the graph's parameters; borrows the device. `elsewhere`: parameters of the model that
  // only other ranks have.
  State(Device& device, const std::vector<graph::Parameter>& parameters, const passes::FlatLayout& layout,
        const passes::Precision& precision, Keep keep, const Ranks& ranks, std::vector<std::string> elsewhere = {});

  // Draws all parameters (and their master copies) by their init rules.
  void initialize(int64_t seed);

  [[nodiscard]] const std::vector<graph::Parameter>& parameters() const { return parameters_; }
  [[nodiscard]] const std::vector<std::string>& elsewhere() const { return elsewhere_; }
  [[nodiscard]] const passes::FlatLayout& layout() const { return layout_; }
  [[nodiscard]] bool keeps(Role role) const { return buffers_[index(role)].bytes() > 0; }
  [[nodiscard]] graph::DType dtype(Role role) const { return dtypes_[index(role)]; }
  [[nodiscard]] std::byte* data(Role role) const { return buffers_[index(role)].data(); }
  [[nodiscard]] bool is_sharded(Role role) const { return share_.is_sharded(role); }
  // The part of a unit that is this rank's to update.
  [[nodiscard]] passes::Unit own_part(const passes::Unit& unit) const;
  // Device address of an element of the flat range, which must be this rank's where the role is sharded.
  [[nodiscard]] std::byte* element(Role role, int64_t at) const;

  // What this rank keeps of one parameter: elements [first, first + count) of its own part of it (row-major), and where they lie.
  struct Part {
    int64_t first = 0, count = 0;
    std::byte* address = nullptr;
  };
  [[nodiscard]] Part part(Role role, size_t parameter) const;
  // First index of this rank's part in every dimension of the whole parameter.
  [[nodiscard]] const std::vector<int64_t>& starts(size_t parameter) const { return starts_[parameter]; }
  // The same elements as runs of the whole parameter.
  [[nodiscard]] std::vector<Run> runs(size_t parameter, int64_t first, int64_t count) const;

  // One parameter's part of a buffer that is not sharded: device address and bytes.
  [[nodiscard]] std::byte* address(Role role, size_t parameter) const;
  [[nodiscard]] int64_t bytes(Role role, size_t parameter) const;
  // Index of a parameter by name; throws nemo::Error with the nearest name.
  [[nodiscard]] size_t find(std::string_view name) const;

  // Host copies as f32. Writing a parameter also sets its master copy.
  [[nodiscard]] std::vector<float> read(Role role, size_t parameter) const;
  void write_parameter(size_t parameter, std::span<const float> values);

 private:
  void draw_part(const std::vector<Role>& roles, size_t parameter, int64_t seed);
  [[nodiscard]] const passes::Unit& unit_of(int64_t at) const;
  static size_t index(Role role) { return static_cast<size_t>(role); }
  Device& device_;
  std::vector<graph::Parameter> parameters_;
  std::vector<std::string> elsewhere_;
  passes::FlatLayout layout_;
  Share share_;
  std::vector<std::vector<int64_t>> starts_;  // of every parameter: first index in the whole one, by dimension
  std::array<graph::DType, kRoles> dtypes_{};
  std::array<Buffer, kRoles> buffers_;
};

}  // namespace nemo::runtime

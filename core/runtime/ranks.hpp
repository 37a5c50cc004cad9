// core/runtime/ranks.hpp - this rank's place in the device mesh of a run, and who else holds what it holds.
#pragma once

#include <string>
#include <vector>

#include "core/dist/world.hpp"
#include "core/passes/layout.hpp"
#include "core/passes/partition.hpp"
#include "core/passes/plan.hpp"
#include "core/runtime/device.hpp"

namespace nemo::runtime {

class Ranks {
 public:
  // `world` NULL: one process; where the plan is for more, this is the view of rank 0, for plans that are not run.
  Ranks(const passes::Plan& plan, dist::World* world);

  [[nodiscard]] int64_t rank() const { return rank_; }
  [[nodiscard]] int64_t size() const { return size_; }
  [[nodiscard]] dist::World* world() const { return world_; }
  [[nodiscard]] const passes::Plan& plan() const { return *plan_; }
  [[nodiscard]] const passes::Coordinates& coordinates() const { return coordinates_; }
  // Mesh axes with more than one rank, outermost first.
  [[nodiscard]] const std::vector<std::string>& axes() const { return axes_; }

  // Among the ranks that read different samples.
  [[nodiscard]] int64_t data_shard() const { return data_.index; }
  [[nodiscard]] int64_t data_shards() const { return data_.size; }
  // This rank's shard of flat buffers that the plan shares out (ZeRO).
  [[nodiscard]] int64_t zero_shard() const { return zero_.index; }
  [[nodiscard]] int64_t zero_shards() const { return zero_.size; }

  // The ranks that hold the same elements of a parameter with these dimensions (after partition); `shared_out`: of its shards.
  [[nodiscard]] dist::Group holders(const graph::Dims& dims, bool shared_out) const;
  // Whether a sum over all ranks takes from this one: of what is the same along all axes but those given, the first rank's counts.
  [[nodiscard]] bool counts(const std::vector<std::string>& distinct_axes) const;
  [[nodiscard]] bool counts_tokens() const;
  // The last stage of a pipeline has the loss.
  [[nodiscard]] bool counts_loss() const;

  // Tells the backend the groups that the plan's collectives need; all ranks call it. Throws nemo::Error where the backend has no
  // collectives.
  void join_groups(Device& device) const;

 private:
  [[nodiscard]] dist::MeshSizes mesh() const;
  const passes::Plan* plan_;
  dist::World* world_;
  int64_t rank_ = 0, size_ = 1;
  passes::Coordinates coordinates_;
  std::vector<std::string> axes_;
  std::string data_axes_;
  dist::Group data_, zero_;
};

// Group of a pipeline's gradients: the ranks of its mesh axis once more, so that what moves backward never waits for what moves forward.
[[nodiscard]] std::string backward_group(const passes::Plan& plan);

// Names of the groups that every rank is in, each with more than one rank: mesh axes, and what shares state out. The backward group of a
// pipeline comes on top.
[[nodiscard]] std::vector<std::string> group_names(const passes::Plan& plan);

// "dp", or "dp,cp": the mesh axes that the rules split the batch over.
[[nodiscard]] std::string data_axes(const passes::Plan& plan);

}  // namespace nemo::runtime

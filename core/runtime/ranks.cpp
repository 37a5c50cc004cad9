#include "core/runtime/ranks.hpp"

#include <algorithm>
#include <set>

namespace nemo::runtime {

using passes::Plan;

std::string data_axes(const Plan& plan) {
  std::string axes;
  for (const passes::MeshAxis& axis : plan.mesh)
    for (const auto& [logical, mesh] : plan.rules)
      if (logical == "batch" && mesh == axis.name) axes += (axes.empty() ? "" : ",") + mesh;
  return axes;
}

Ranks::Ranks(const Plan& plan, dist::World* world) : plan_(&plan), world_(world), data_axes_(runtime::data_axes(plan)) {
  for (const passes::MeshAxis& axis : plan.mesh) {
    size_ *= axis.size;
    if (axis.size > 1) axes_.push_back(axis.name);
  }
  rank_ = world == nullptr ? 0 : world->rank();
  coordinates_ = dist::coordinates_of(mesh(), rank_);
  data_ = dist::group_of(mesh(), rank_, data_axes_);
  zero_ = dist::group_of(mesh(), rank_, plan.zero_axis());
}

dist::MeshSizes Ranks::mesh() const {
  dist::MeshSizes sizes;
  for (const passes::MeshAxis& axis : plan_->mesh) sizes.emplace_back(axis.name, axis.size);
  return sizes;
}

dist::Group Ranks::holders(const graph::Dims& dims, bool shared_out) const {
  std::string same;
  for (const std::string& axis : axes_) {
    bool distinct = axis == plan_->pipeline.mesh || (shared_out && Plan::in_group(plan_->zero_axis(), axis));
    for (const graph::Dim& d : dims) distinct = distinct || std::find(d.mesh.begin(), d.mesh.end(), axis) != d.mesh.end();
    if (!distinct) same += (same.empty() ? "" : ",") + axis;
  }
  return dist::group_of(mesh(), rank_, same);
}

bool Ranks::counts(const std::vector<std::string>& distinct_axes) const {
  return std::all_of(axes_.begin(), axes_.end(), [&](const std::string& axis) {
    return coordinates_.at(axis) == 0 || std::find(distinct_axes.begin(), distinct_axes.end(), axis) != distinct_axes.end();
  });
}

bool Ranks::counts_tokens() const {
  return std::all_of(axes_.begin(), axes_.end(),
                     [&](const std::string& axis) { return coordinates_.at(axis) == 0 || Plan::in_group(data_axes_, axis); });
}

bool Ranks::counts_loss() const {
  return std::all_of(axes_.begin(), axes_.end(), [&](const std::string& axis) {
    return coordinates_.at(axis) == (axis == plan_->pipeline.mesh ? plan_->axis_size(axis) - 1 : 0);
  });
}

std::string backward_group(const Plan& plan) { return plan.pipeline.mesh + ".backward"; }

std::vector<std::string> group_names(const Plan& plan) {
  std::vector<std::string> names;
  for (const passes::MeshAxis& axis : plan.mesh)
    if (axis.size > 1) names.push_back(axis.name);
  const std::string& zero = plan.zero_axis();
  if (plan.group_size(zero) > 1 && std::find(names.begin(), names.end(), zero) == names.end()) names.push_back(zero);
  return names;
}

void Ranks::join_groups(Device& device) const {
  if (world_ == nullptr) return;
  for (const std::string& name : group_names(*plan_)) device.join(dist::group_of(mesh(), rank_, name), *world_);
  if (plan_->axis_size(plan_->pipeline.mesh) == 1) return;
  dist::Group backward = dist::group_of(mesh(), rank_, plan_->pipeline.mesh);
  backward.name = backward_group(*plan_);
  backward.key += ".backward";
  device.join(backward, *world_);
}

}  // namespace nemo::runtime

// core/passes/partition_rules.hpp - from axis names to placements: the mesh and the ordered rules, checked and compiled. Internal to
// partition.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/partition.hpp"

namespace nemo::passes {

using MeshIds = std::vector<int>;        // indices into Plan.mesh, outermost first
using Placement = std::vector<MeshIds>;  // the mesh axes that split each dimension
using MeshMask = uint64_t;               // a set of mesh axes

[[nodiscard]] constexpr MeshMask bit(int axis) { return MeshMask{1} << axis; }
[[nodiscard]] MeshMask mask_of(const Placement& placement);
// The dimension that mesh axis `m` splits, or -1.
[[nodiscard]] int dimension_of(const Placement& placement, int m);

class Rules {
 public:
  // Throws nemo::Error(kConfig) on a rule whose mesh axis the mesh lacks, or whose logical axis is neither in the glossary nor on a value.
  Rules(const graph::Graph& graph, const Plan& plan, const Coordinates& coordinates);

  // False if no mesh axis has more than one rank.
  [[nodiscard]] bool active() const;
  // Throws nemo::Error(kInvalidArgument) on an axis word of a value that nobody knows.
  void check_axes(const graph::Graph& graph) const;

  [[nodiscard]] Placement target(const graph::Dims& dims) const { return place(dims, false); }
  [[nodiscard]] Placement input_target(const graph::Dims& dims) const { return place(dims, true); }

  // This rank's dimensions. `owner` names the value in the error that follows from an indivisible size.
  [[nodiscard]] graph::Dims local(const graph::Dims& global, const Placement& placement, const std::function<std::string()>& owner) const;

  [[nodiscard]] int64_t size(int m) const { return plan_.mesh[static_cast<size_t>(m)].size; }
  [[nodiscard]] const std::string& name(int m) const { return plan_.mesh[static_cast<size_t>(m)].name; }
  [[nodiscard]] int64_t coordinate(int m) const { return coordinates_[static_cast<size_t>(m)]; }
  [[nodiscard]] int axes() const { return static_cast<int>(plan_.mesh.size()); }
  // Whether the mesh axis splits sequences and nothing else (context parallel): its rank r of c then has chunks r and 2c - 1 - r of 2c.
  [[nodiscard]] bool is_context(int m) const;
  // Whether sequences split over the axis are exchanged for heads where attention needs them whole; rank r of c then has chunk r of c.
  [[nodiscard]] bool exchanges_heads(int m) const { return is_context(m) && plan_.context == "a2a"; }
  // How attention finds the keys of a context axis: all_gather, a2a or p2p.
  [[nodiscard]] const std::string& context() const { return plan_.context; }
  // The mesh axis over which rows go to their experts: it splits both experts and batch. -1: none.
  [[nodiscard]] int exchange_axis() const;
  // Rows that a rank has room for that deals `own` itself.
  [[nodiscard]] int64_t room_for(int64_t own, int m) const;
  // This rank's index among the parts of a dimension.
  [[nodiscard]] int64_t part(const MeshIds& ids) const;
  // Whether parameters, gradients or optimizer state are shared out over the axis, which has more than one rank.
  [[nodiscard]] bool shares_out(int m) const { return size(m) > 1 && Plan::in_group(plan_.zero_axis(), name(m)); }
  // Names of a set of mesh axes, in mesh order.
  [[nodiscard]] std::vector<std::string> names(MeshMask mask) const;

 private:
  struct Rule {
    std::string axis;
    int mesh;
    bool features;  // the mesh axis also splits an axis other than batch and seq
  };
  [[nodiscard]] int find(std::string_view mesh, std::string_view used_by) const;
  [[nodiscard]] Placement place(const graph::Dims& dims, bool input) const;

  const Plan& plan_;
  std::vector<Rule> rules_;
  std::vector<int64_t> coordinates_;
};

}  // namespace nemo::passes

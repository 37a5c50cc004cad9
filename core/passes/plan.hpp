// core/passes/plan.hpp - what a strategy plugin decided: the device mesh, axis rules, and how parameters and optimizer state are kept.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nemo::passes {

struct MeshAxis {
  std::string name;
  int64_t size = 1;
};

struct Plan {
  std::vector<MeshAxis> mesh;                              // outermost first
  std::vector<std::pair<std::string, std::string>> rules;  // logical axis -> mesh axis, ordered
  std::string shard_parameters;                            // mesh axis of ZeRO-3, or empty
  std::string shard_optimizer;                             // mesh axis of ZeRO-1, or empty

  // Size of a mesh axis; 1 if the mesh does not have it.
  [[nodiscard]] int64_t axis_size(std::string_view name) const {
    for (const MeshAxis& a : mesh)
      if (a.name == name) return a.size;
    return 1;
  }
};

}  // namespace nemo::passes

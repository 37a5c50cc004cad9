// core/passes/plan.hpp - what a strategy plugin decided: the device mesh, axis rules, and how parameters and optimizer state are kept.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nemo::passes {

struct MeshAxis {
  std::string name;
  int64_t size = 1;
};

// How blocks are cut into stages, as nemo_pipeline of nemo/strategy.h says.
struct Pipeline {
  std::string mesh;  // empty: no pipeline
  int64_t virtual_stages = 1;
  std::string schedule = "1f1b";
  int64_t first_layers = 0, last_layers = 0;
  bool count_embedding = false, count_loss = false;
  std::vector<int64_t> layers;  // of every stage; empty: dealt out evenly
};

struct Plan {
  std::vector<MeshAxis> mesh;                              // outermost first
  std::vector<std::pair<std::string, std::string>> rules;  // logical axis -> mesh axis, ordered
  std::string shard_parameters;                            // mesh axis of ZeRO-3, or empty
  std::string shard_optimizer;                             // mesh axis of ZeRO-1, or empty
  Pipeline pipeline{};

  // Size of a mesh axis; 1 if the mesh does not have it.
  [[nodiscard]] int64_t axis_size(std::string_view name) const {
    for (const MeshAxis& a : mesh)
      if (a.name == name) return a.size;
    return 1;
  }
};

}  // namespace nemo::passes

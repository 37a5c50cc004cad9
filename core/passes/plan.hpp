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
  std::string shard_gradients{};         // mesh axis of ZeRO-2, or empty
  int64_t bucket_elements = 40'000'000;  // of one collective over gradients or parameters, at least, where blocks are smaller
  bool keep_gathered = false;            // ZeRO-3: parameters stay whole between forward and backward
  std::string context = "all_gather";    // attention over split sequences: all_gather, a2a or p2p
  int64_t prefetch = 1;                  // ZeRO-3: runs of blocks by which a gather is ahead of its use
  bool take_turns = false;               // two halves of a micro-batch, so that collectives of one run under the work of the other
  double expert_capacity = 0;            // rows that a rank has room for, over those that it deals; 0: all that can come

  // How far state is shared out among the ranks of one group: 0 nothing, 1 optimizer state, 2 gradients as well, 3 parameters as well.
  [[nodiscard]] int zero_stage() const {
    return !shard_parameters.empty() ? 3 : !shard_gradients.empty() ? 2 : !shard_optimizer.empty() ? 1 : 0;
  }
  // The group's name: a mesh axis, or several joined by ','.
  [[nodiscard]] const std::string& zero_axis() const {
    return !shard_parameters.empty() ? shard_parameters : !shard_gradients.empty() ? shard_gradients : shard_optimizer;
  }
  // Product of the sizes of axes joined by ','.
  [[nodiscard]] int64_t group_size(std::string_view axes) const {
    int64_t n = 1;
    for (const MeshAxis& a : mesh)
      if (in_group(axes, a.name)) n *= a.size;
    return n;
  }
  [[nodiscard]] static bool in_group(std::string_view axes, std::string_view axis) {
    return ("," + std::string(axes) + ",").find("," + std::string(axis) + ",") != std::string::npos;
  }

  // Ranks that divide the batch among them.
  [[nodiscard]] int64_t batch_ranks() const {
    int64_t n = 1;
    for (const auto& [logical, axis] : rules)
      if (logical == "batch") n *= axis_size(axis);
    return n;
  }
  // Size of a mesh axis; 1 if the mesh does not have it.
  [[nodiscard]] int64_t axis_size(std::string_view name) const {
    for (const MeshAxis& a : mesh)
      if (a.name == name) return a.size;
    return 1;
  }
};

}  // namespace nemo::passes

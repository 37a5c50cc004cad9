// core/passes/partition_decide.hpp - how each op of the whole model is split: the first half of partition, which changes nothing. Internal
// to partition.
#pragma once

#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/partition_rules.hpp"

namespace nemo::passes {

struct InputDecision {
  Placement needed;
  MeshMask partial = 0;  // mesh axes over which the gradient that the op gives this input is a partial sum
};

struct OutputDecision {
  Placement raw;         // as the op leaves it
  MeshMask partial = 0;  // mesh axes over which it is a partial sum then
  Placement final;       // after the collectives
};

enum class OpForm { kAsIs, kVocabularyLoss };

struct OpDecision {
  std::vector<InputDecision> inputs;
  std::vector<OutputDecision> outputs;
  OpForm form = OpForm::kAsIs;
};

struct Decisions {
  std::vector<OpDecision> ops;
  std::vector<Placement> placed;             // of every value, once its collectives are done
  std::vector<bool> differentiable;          // depends on a trainable parameter
  std::vector<std::vector<uint32_t>> roots;  // for values made of parameters alone: these parameters
  // For each parameter the mesh axes over which every use leaves its gradient partial.
  std::vector<MeshMask> gradient_partial;
};

// Throws as partition() does.
[[nodiscard]] Decisions decide(const graph::Graph& graph, const Rules& rules);

// "layers.0.attention: op 'linear'", for errors.
[[nodiscard]] std::string place_of(const graph::Op& op);

}  // namespace nemo::passes

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

// Rows of experts on their way through the ranks of a mesh axis: their first `lead` dimensions are one, as many as there is room for.
struct Exchange {
  int mesh = -1;
  size_t lead = 0;
  Placement dealt;  // of the rows, where moe_dispatch left them
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
  std::vector<Exchange> exchanges;
  std::vector<int> exchanged;  // of every value: index into exchanges, or -1
  // For each parameter the mesh axes over which every use leaves its gradient partial.
  std::vector<MeshMask> gradient_partial;
};

// Throws as partition() does.
[[nodiscard]] Decisions decide(const graph::Graph& graph, const Rules& rules);

// "layers.0.attention: op 'linear'", for errors.
[[nodiscard]] std::string place_of(const graph::Op& op);

}  // namespace nemo::passes

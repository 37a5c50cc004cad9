// core/passes/positions.hpp - rotary positions that depend on how long sequences are (LongRoPE: factors of their own within the first
// context).
//
// A model builds its graph for sequences of one length and chooses its positions by that. Where a run has shorter ones too, the graph for
// those differs in the attributes of "rope" alone.
#pragma once

#include <cstdint>
#include <functional>

#include "core/graph/graph.hpp"

namespace nemo::passes {

// The graph of a model whose sequences have this many tokens.
using GraphOfLength = std::function<graph::Graph(int64_t seq)>;

// The longest sequences, shorter than `longest`, that have the positions of the shortest ones; 0 where those of `longest` have them too.
[[nodiscard]] int64_t first_context(const GraphOfLength& build, int64_t longest);

// Gives `to` the rotary positions of `from`, a graph of the same model. Throws nemo::Error(kInternal) where their ropes are not the same
// in number.
void take_positions(graph::Graph& to, const graph::Graph& from);

}  // namespace nemo::passes

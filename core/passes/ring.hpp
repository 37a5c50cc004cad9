// core/passes/ring.hpp - part of pass "differentiate": writes ring attention out as attention over keys and values that come around.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::passes {

// Replaces every ring_attention and ring_attention_grad. In step i of c, rank r has the keys and values of rank (r - i) mod c, with chunks
// j and 2c - 1 - j of 2c of the sequence. Causal queries see a chunk in front of theirs whole and one behind it not at all, so a step is
// one attention without mask for each of the rank's chunks of queries that sees something: half of the pairs in every step, on every rank.
// What the next step needs is sent for in front of a step's attention. Backward, the gradients of keys and values go around with them and
// come home with one more shift; each step's attention_grad has the result and log-sum-exp of the whole, so that its parts sum up.
// A graph without these ops is left as it is.
void expand_rings(graph::Graph& graph);

}  // namespace nemo::passes

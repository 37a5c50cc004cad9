// core/passes/strands.hpp - a micro-batch in two halves, so that collectives of one half run under the work of the other.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::passes {

// In front of differentiation. Every op that computes for sequences is there twice, for the first and for the second half of the
// micro-batch's sequences; nothing but parameters, values that depend on no sequence, and sums over all sequences are shared. Batch fields
// are read in place: their halves are kInput values "NAME#0" and "NAME#1" whose home is the field. Losses and gradients are the same sums,
// added in another order.
//
// Does nothing, and returns false, where no collective is among what computes for sequences, where the number of sequences is odd, and
// where a half is not worth what it is elsewhere: dropout (its masks are numbered by rows), mixtures (rows of all sequences are dealt
// together), collectives along dimension 0, results without a leading "batch" dimension other than sums.
bool split_into_strands(graph::Graph& graph);

// Behind differentiation, in pass "schedule": the two halves of a graph split so take turns. A turn ends with a collective that a matrix
// product or attention follows; what stands between collectives without such work (norms) is done within the other half's turn, as soon as
// the collective in front of it can be expected to be done. Collectives keep one order on all ranks: it depends on nothing but which ops
// there are. Ops of one half keep their order. False, and nothing is changed, where the graph was not split.
bool take_turns(graph::Graph& graph);

}  // namespace nemo::passes

// core/passes/partition.hpp - rewrites the forward graph of the whole model into that of one rank.
//
// In: a forward graph (typed or not) with global dimensions, "batch" being the micro batch of all data ranks together. Out: the same ops
// with this rank's dimensions (Dim.size local, Dim.mesh = the mesh axes that split it, outermost first) and collectives where an op's row
// needs them. Runs before differentiation: the gradients of what is inserted are Megatron's backward communication (Shoeybi et al. 2019,
// Korthikanti et al. 2022) and FSDP's. A plan whose mesh axes all have size 1 leaves the graph unchanged.
//
// Gradient convention, which differentiate must follow and the inserted ops rest on:
//  - the seed of "loss" is 1 on every rank, and "loss" is complete on every rank (the scalar is all-reduced over the axes that split its
//  tokens);
//  - the gradient of a value that is replicated over mesh axis m is complete and the same on all ranks of m; of a split value, each rank
//  has its part's;
//  - a parameter's gradient is still to be summed over the axes in Parameter.gradient_partial, once at the end of the step;
//  - all_reduce(sum) <- identity; copy_to <- all_reduce(sum); all_gather <- reduce_scatter; reduce_scatter <- all_gather; slice <- zero
//  padding;
//    all_reduce(max) has none (cross_entropy does not depend on the shift).
//
// Placement. Every value has a target from its axis names alone: rules are walked in order, a rule applies to a dimension of its axis if
// the mesh axis is not yet used in the value (t5x). Parameters take their target. Graph inputs do too, but for "seq" over a mesh axis that
// also splits features (sequence parallelism): tokens stay whole there. Inside an op a mesh axis serves one letter of the row; it goes to,
// in this order:
//   1. the letter that a parameter is split on (column-parallel linear: the input is gathered along seq; row-parallel, embedding: the sum
//   is partial),
//   2. a letter that is reduced and split on all inputs that carry it,
//   3. the letter of the output's target, if an input that carries it is already split so or all of them are batch fields (then they are
//   sliced),
//   4. the letter that an input happens to be split on.
// A partial sum becomes reduce_scatter where the output's target uses the mesh axis, else all_reduce.
//
// Shapes of what is special:
//  - embedding split on the vocabulary: attribute shard_offset = first row held (also where it is 0: ids outside the rows give 0);
//  - grouped_linear split on the experts: likewise; the rows of a rank's own experts, summed over the ranks;
//  - cross_entropy split on the vocabulary: row_max, all_reduce(max), cross_entropy_parts, 2 all_reduce(sum), cross_entropy_join;
//  - bias of a row-parallel linear: scaled by 1/n before the op, so that the sum over n ranks holds it once; its gradient_partial names the
//  axis;
//  - output "logits" stays split on the vocabulary.
//  - sequences split over an axis that splits nothing else (context parallel): rank r of c has chunks r and 2c - 1 - r of 2c, in that
//  order.
//    Causal attention gathers keys and values and becomes one attention for each of the rank's chunks of queries, to the keys up to its end
//    (take_chunks, put_chunks), so that all ranks do the same work. With Plan.context = "p2p" it becomes ring_attention, which pass "ring"
//    writes out; with "a2a" rank r has chunk r of c, and all_to_all exchanges heads for sequences around attention;
//  - experts and batch split over one axis (expert parallel): behind moe_dispatch rows go to the ranks of their experts (moe_exchange) and
//    in front of moe_combine they return. Between these, the dimensions that count rows are one, as long as there is room for rows;
//  - dropout gets the place of this rank's elements within their samples (seq_start, inner_start, inner_size).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/graph/graph.hpp"
#include "core/passes/plan.hpp"

namespace nemo::passes {

// This rank's index along each mesh axis; a missing axis is 0. Only shard_offset and the start of slices depend on it.
using Coordinates = std::map<std::string, int64_t, std::less<>>;

// How batch fields that are split over a context-parallel axis are cut.
struct SequencePart {
  int64_t rank = 0, ranks = 1;
  bool balanced = true;  // chunks `rank` and 2 ranks - 1 - rank of 2 ranks; else chunk `rank` of `ranks`
};
[[nodiscard]] SequencePart sequence_part(const Plan& plan, const Coordinates& coordinates);

// Throws nemo::Error: kConfig for rules that do not fit the mesh or the model's sizes (parameter, axis, sizes and the setting to change),
// kInvalidArgument for an axis word that is neither in a rule nor in the glossary, kUnsupported where an op has no split form. On an error
// the graph is left as it was.
void partition(graph::Graph& graph, const Plan& plan, const Coordinates& coordinates = {});

}  // namespace nemo::passes

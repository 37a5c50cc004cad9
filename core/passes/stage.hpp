// core/passes/stage.hpp - pass "stage": cuts a forward graph at block marks into the stages of a pipeline and keeps those of one rank.
//
// Runs behind partition (so that what crosses is this rank's part) and before differentiation. In: one rank's forward graph of the whole
// model. Out: one graph with this rank's chunks (stages rank, rank + p, ...), which share nothing but parameters. A value that is produced
// in one stage and read in a later one crosses every boundary between them: each chunk receives it as input "recv.C.K" and hands it on as
// output "send.C.K" (C the chunk, K its place among what crosses there, the same on both sides). Values made of parameters or batch fields
// alone do not cross: the stage that reads them computes them again. Batch fields become one input per chunk that reads them, because the
// chunks work on different micro-batches at a time.
//
// differentiate then seeds what is sent by inputs "grad.send.C.K" and names the gradients of what is received as outputs "grad.recv.C.K".
// Values that cross are inputs and outputs rather than send and recv ops, because a schedule, not the program, decides when they move.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/plan.hpp"

namespace nemo::passes {

struct StageLink {
  graph::ValueId value = 0;     // the input "recv.C.K", or the value that output "send.C.K" names
  graph::ValueId gradient = 0;  // set by differentiate: the output "grad.recv.C.K", or the input "grad.send.C.K"; 0: none flows
  int32_t chunk = 0;
  bool differentiable = false;  // depends on a trainable parameter
};

// A parameter that stages on several ranks hold, such as a tied token table. Its gradient is to be summed over them.
struct SharedParameter {
  uint32_t parameter = 0;
  std::vector<int64_t> ranks;  // pipeline ranks, ascending; the first one counts it in norms and saves it
};

struct Stages {
  int64_t ranks = 1;  // of the pipeline; 1 with an empty `blocks`: the graph is not cut
  int64_t rank = 0;
  std::vector<int64_t> blocks;             // of every stage, in model order
  std::vector<StageLink> receives, sends;  // ordered by chunk, then K
  std::vector<SharedParameter> shared;
  std::vector<std::string> elsewhere;  // the model's parameters that only other ranks have
  [[nodiscard]] bool cut() const { return !blocks.empty(); }
  [[nodiscard]] int32_t chunks() const { return cut() ? static_cast<int32_t>(static_cast<int64_t>(blocks.size()) / ranks) : 1; }
};

// How many blocks each of ranks * v stages gets. Throws nemo::Error(kConfig) with the numbers where they cannot be dealt out.
[[nodiscard]] std::vector<int64_t> deal_blocks(int64_t blocks, const Pipeline& pipeline, int64_t ranks);

// Cuts `graph` as plan.pipeline says; unchanged where the plan has no pipeline. Throws nemo::Error(kConfig) as deal_blocks.
[[nodiscard]] Stages stage(graph::Graph& graph, const Plan& plan, int64_t rank);

}  // namespace nemo::passes

// core/passes/overlap.hpp - communication beside computation: the order of ops that leaves collectives something to run under, and what
// the two streams wait for.
#pragma once

#include <cstdint>
#include <vector>

#include "core/graph/graph.hpp"

namespace nemo::passes {

// Whether an op is a collective that moves data.
[[nodiscard]] bool communicates(const graph::Op& op);

// Part of pass "schedule", before gradient buffers get their first writers. Collectives move up to right behind the last producer of what
// they read, within their phase. Weight gradients of the backward region are held back, at most two at a time and in their order, and come
// out one behind each collective, so that it runs under them (Korthikanti et al. 2022, section 4.2, does so for its own layers). No other
// op changes places, writers of one gradient buffer keep their order, and so do all sums: results are the same bits. `across_blocks`: they
// may be held back into the block before theirs. A graph without collectives stays as it is.
void make_room_for_collectives(graph::Graph& graph, bool across_blocks);

// The first part of it: collectives move up.
void hoist_collectives(graph::Graph& graph);

// What ops of one stream wait for in the other one. Ops of a stream run in program order.
struct StreamPlan {
  static constexpr int32_t kNothing = -1;
  std::vector<int32_t> stream;  // by op: 0 compute, 1 communication
  // By op: it starts after every op of the other stream with an index below this one; 0: after what was launched before the program. One
  // more for the end of the program, which stream 0 stands for.
  std::vector<int32_t> wait;
  // By op of stream 1: index of the first op of stream 0 that waits for it; ops.size(): the end of the program. Its buffers are its own up
  // to there. Of stream 0: its own index.
  std::vector<int32_t> joined;
  // By op: of stream 0, and stream 1 can be expected to be busy while it runs (passes/pace.hpp).
  std::vector<bool> beside;

  [[nodiscard]] bool overlaps() const;  // any op in stream 1
};

// From Op.stream and the order of ops. An op of stream 1 starts when all earlier ops of stream 0 are done. An op of stream 0 waits for the
// last earlier op of stream 1 that wrote what it reads or writes, or read what it writes, and for all that were issued two runs of blocks
// ago, so that what they hold is bounded. A collective whose result is read at once stays in stream 0, behind all of stream 1 (ranks must
// enter collectives in one order).
[[nodiscard]] StreamPlan plan_streams(const graph::Graph& graph);

}  // namespace nemo::passes

// core/passes/memory.hpp - pass "memory": decides where every value of a program lives, before anything runs.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/layout.hpp"
#include "core/passes/overlap.hpp"
#include "core/passes/phases.hpp"

namespace nemo::passes {

enum class Region : int32_t { kNone, kArena, kParameters, kGradients, kInputs, kState, kSlot };

// Where named state lies: by name, so that programs that use one name share its memory. Grows with every program that is planned.
struct StateLayout {
  struct Entry {
    int64_t offset = 0, bytes = 0;
    graph::DType dtype = graph::DType::kU8;
  };
  std::map<std::string, Entry, std::less<>> entries;
  int64_t bytes = 0;

  // The entry of that name; made on first use, 256-byte aligned. Throws nemo::Error(kInternal) where it has another size.
  const Entry& place(const std::string& name, int64_t bytes_wanted, graph::DType dtype = graph::DType::kU8);
};

struct Placement {
  Region region = Region::kNone;
  int64_t offset = 0;            // bytes from the region's base
  std::vector<int64_t> strides;  // elements
};

// The largest buffers that are live at the moment of the arena's peak.
struct LiveBuffer {
  std::string scope;
  std::string op;
  int64_t bytes = 0;
};

struct MemoryPlan {
  std::vector<Placement> placements;  // by value id
  std::vector<bool> is_view;          // by op index: the op does no work, its output is memory of its input or the other way round
  int64_t arena_bytes = 0;
  int64_t input_bytes = 0;
  std::vector<int64_t> slot_bytes;  // of one micro-batch in flight, by chunk of the pipeline rank; empty without a pipeline
  std::vector<LiveBuffer> at_peak;  // largest first, at most 10
};

// Liveness in program order, best fit with coalescing, views without copies: slice reads out of its input, the inputs of concat are written
// in place, elementwise ops reuse an input that dies, rope turns parts of a group's result where they lie. Ops that cannot read or write
// strided memory get a real copy instead. Named state is placed in `state`.
//
// With `phases` (of a pipeline's rank) the forward and backward programs of a micro-batch run at different times, with others between: what
// one phase leaves for a later one, what comes from and goes to other stages, and batch fields lie in the micro-batch's slot (region kSlot,
// offset from the slot's base); only what lives within one phase is in the arena.
//
// With `streams`, what an op of stream 1 touches stays its own until stream 0 waits for it.
[[nodiscard]] MemoryPlan plan_memory(const graph::Graph& graph, const FlatLayout& layout, StateLayout& state,
                                     const Phases* phases = nullptr, const StreamPlan* streams = nullptr);

[[nodiscard]] std::vector<int64_t> contiguous_strides(const graph::Dims& dims);

}  // namespace nemo::passes

// tests/passes/two_streams.hpp - whether what both streams of a program touch is ordered by a wait.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/passes/memory.hpp"

namespace nemo::passes::testing {

// Walks the program as two streams would be launched. Every byte of memory remembers who touched it last; an op may touch what the other
// stream wrote, and write what it read, only where it has waited for that op.
class TwoStreams {
 public:
  TwoStreams(const graph::Graph& graph, const MemoryPlan& memory, const StreamPlan& streams)
      : g_(graph), memory_(memory), streams_(streams) {}

  std::vector<std::string> run() {
    for (size_t i = 0; i < g_.ops.size(); ++i) {
      const auto mine = static_cast<size_t>(streams_.stream[i]);
      known_[mine] = std::max(known_[mine], streams_.wait[i]);
      if (memory_.is_view[i]) continue;
      for (const graph::ValueId v : g_.ops[i].inputs) touch(i, v, false);
      for (const graph::ValueId v : g_.ops[i].outputs) touch(i, v, true);
    }
    known_[0] = std::max(known_[0], streams_.wait[g_.ops.size()]);
    for (size_t i = 0; i < g_.ops.size(); ++i)
      if (streams_.stream[i] == 1 && known_[0] <= static_cast<int32_t>(i)) fault(i, "is not done at the end of the program");
    return faults_;
  }

 private:
  struct Touched {
    std::array<int32_t, 2> wrote{-1, -1}, read{-1, -1};  // by stream
  };

  void fault(size_t op, const std::string& what) {
    if (faults_.size() < 10) faults_.push_back("op " + std::to_string(op) + " " + g_.ops[op].row->name + " " + what);
  }

  void touch(size_t i, graph::ValueId v, bool writes) {
    if (v == 0) return;
    const Placement& p = memory_.placements[v];
    std::vector<int64_t> at{p.offset};
    const graph::Dims& dims = g_.value(v).dims;
    for (size_t d = 0; d < dims.size(); ++d) {
      std::vector<int64_t> next;
      for (const int64_t base : at)
        for (int64_t n = 0; n < dims[d].size; ++n) next.push_back(base + n * p.strides[d] * size_of(g_.value(v).dtype));
      at = std::move(next);
    }
    const auto mine = static_cast<size_t>(streams_.stream[i]), other = 1 - mine;
    const auto now = static_cast<int32_t>(i);
    for (const int64_t byte : at) {
      for (int64_t b = 0; b < size_of(g_.value(v).dtype); ++b) {
        Touched& t = touched_[{p.region, byte + b}];
        if (t.wrote[other] >= known_[mine])
          return fault(i, "touches %" + std::to_string(v) + ", which op " + std::to_string(t.wrote[other]) + " may still write");
        if (writes && t.read[other] >= known_[mine])
          return fault(i, "writes %" + std::to_string(v) + ", which op " + std::to_string(t.read[other]) + " may still read");
        (writes ? t.wrote : t.read)[mine] = now;
      }
    }
  }

  const graph::Graph& g_;
  const MemoryPlan& memory_;
  const StreamPlan& streams_;
  std::map<std::pair<Region, int64_t>, Touched> touched_;
  std::array<int32_t, 2> known_{0, 0};  // ops of the other stream below this are done
  std::vector<std::string> faults_;
};

}  // namespace nemo::passes::testing

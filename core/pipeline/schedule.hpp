// core/pipeline/schedule.hpp - the order in which each rank of a pipeline computes its stages and micro-batches.
//
// p ranks hold p * v stages; stage s lies on rank s % p as that rank's chunk s / p. A schedule is one list of actions per rank and nothing
// else: what is received and sent follows from it. The forward of a stage needs the result of the stage in front of it, for the same
// micro-batch; the backward needs the gradient of the stage behind it. Messages between two ranks in one direction (results forward,
// gradients backward) arrive in the order in which they were sent. Pure logic: no I/O, no threads, the same on every machine.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace nemo::pipeline {

enum class Kind {
  kGPipe,        // all forwards, then all backwards (Huang et al. 2019)
  k1F1B,         // one forward, one backward: at most p micro-batches in flight (Narayanan et al. 2019, PipeDream-Flush)
  kInterleaved,  // 1F1B over v chunks per rank: a v-th of the bubble (Narayanan et al. 2021)
  kZeroBubble,   // ZB-H1: weight gradients fill the bubble, memory as 1F1B's first rank (Qi et al. 2023)
};
// "gpipe", "1f1b", "interleaved", "zb-h1"; throws nemo::Error(kConfig) with the known words.
[[nodiscard]] Kind parse_kind(std::string_view word);
[[nodiscard]] std::string_view to_string(Kind kind);

enum class Phase : uint8_t {
  kForward,
  kBackward,        // both gradients
  kBackwardInput,   // the gradient of the stage's input, which the stage in front waits for
  kBackwardWeight,  // the gradients of its weights, which nobody waits for
};

struct Action {
  Phase phase = Phase::kForward;
  int32_t micro_batch = 0;
  int32_t chunk = 0;  // virtual stage of the rank
  int32_t slot = 0;   // of the rank: where the chunk's saved activations of the micro-batch lie between its first and last phase
  bool operator==(const Action&) const = default;
};

struct Shape {
  int32_t ranks = 1;           // p
  int32_t virtual_stages = 1;  // v
  int32_t micro_batches = 1;   // m
  [[nodiscard]] int32_t stages() const { return ranks * virtual_stages; }
};

using Actions = std::vector<Action>;

// The list of one rank. Throws nemo::Error(kConfig) with the numbers where the schedule does not serve the shape: v > 1 needs interleaved,
// interleaved needs v > 1 and m a multiple of p.
[[nodiscard]] Actions schedule(Kind kind, const Shape& shape, int32_t rank);
[[nodiscard]] std::vector<Actions> schedule(Kind kind, const Shape& shape);

// Deals the slots of a sound list anew for chunks that need different amounts of memory: `bytes` by chunk. Returns the bytes of each slot,
// together no more than with slots that are all alike. A list that only goes forward keeps its own.
[[nodiscard]] std::vector<int64_t> fit_slots(Actions& actions, const std::vector<int64_t>& bytes);

// Slots that the list needs: 1 + the largest named.
[[nodiscard]] int32_t slot_count(const Actions& actions);

}  // namespace nemo::pipeline

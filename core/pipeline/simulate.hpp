// core/pipeline/simulate.hpp - proves lists of actions sound, and says how long they take.
#pragma once

#include <string>
#include <vector>

#include "core/pipeline/schedule.hpp"

namespace nemo::pipeline {

// Empty if the lists are sound, else what is wrong and where. Sound means:
//  - complete: every micro-batch goes forward and then backward through every stage exactly once, backward whole or in its two parts;
//  - slots: a micro-batch keeps one slot from its forward to its last phase, and no other uses it meanwhile;
//  - order: between two ranks, in each direction, messages are asked for in the order in which they are sent;
//  - free of deadlock: run in list order, with sends that wait for nobody but hold their memory (the slot) until received, every rank
//    reaches the end of its list.
[[nodiscard]] std::string find_fault(const std::vector<Actions>& lists, const Shape& shape);

// Seconds of one micro-batch in one stage.
struct StageTime {
  double forward = 0;
  double backward_input = 0;  // the two parts of the backward, which add up to the whole
  double backward_weight = 0;
  double transfer = 0;  // from the end of a phase until the neighbour has its result; ranks compute meanwhile
};

struct Timeline {
  double end = 0;                  // the last action of any rank
  std::vector<double> busy;        // by rank: seconds in which it computes
  std::vector<int32_t> in_flight;  // by rank: most (micro-batch, chunk) pairs whose activations are held at once
  // Idle time of the busiest rank over its busy time.
  [[nodiscard]] double bubble() const;
};

// Runs sound lists in time, each action as early as its list and its messages allow. `times` by stage. Linear in the number of actions.
[[nodiscard]] Timeline simulate(const std::vector<Actions>& lists, const Shape& shape, const std::vector<StageTime>& times);

}  // namespace nemo::pipeline

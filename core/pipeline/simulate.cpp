#include "core/pipeline/simulate.hpp"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <tuple>

namespace nemo::pipeline {
namespace {

std::string describe(const Action& a, int32_t rank) {
  constexpr const char* kNames[] = {"forward", "backward", "input gradient", "weight gradient"};
  return std::string(kNames[static_cast<size_t>(a.phase)]) + " of micro-batch " + std::to_string(a.micro_batch) + ", chunk " +
         std::to_string(a.chunk) + ", on rank " + std::to_string(rank);
}

bool is_last(Phase phase) { return phase == Phase::kBackward || phase == Phase::kBackwardWeight; }
bool gives_input_gradient(Phase phase) { return phase == Phase::kBackward || phase == Phase::kBackwardInput; }

// State of every (stage, micro-batch).
class Board {
 public:
  explicit Board(const Shape& shape) : shape_(shape), cells_(static_cast<size_t>(shape.stages() * shape.micro_batches)) {}
  struct Cell {
    bool forward = false, input = false, weight = false;
    double forward_at = 0, input_at = 0;  // when the neighbour has the result
  };
  Cell& at(int32_t stage, int32_t micro_batch) {
    return cells_[static_cast<size_t>(stage) * static_cast<size_t>(shape_.micro_batches) + static_cast<size_t>(micro_batch)];
  }

 private:
  const Shape& shape_;
  std::vector<Cell> cells_;
};

int32_t stage_of(const Shape& s, int32_t rank, const Action& a) { return a.chunk * s.ranks + rank; }

std::string fault_in_list(const Actions& list, const Shape& s, int32_t rank) {
  struct Seen {
    int forward = 0, input = 0, weight = 0, slot = -1;
  };
  std::vector<Seen> seen(static_cast<size_t>(s.virtual_stages * s.micro_batches));
  std::map<int32_t, const Action*> holder;  // of each slot: its forward
  for (const Action& a : list) {
    if (a.chunk < 0 || a.chunk >= s.virtual_stages || a.micro_batch < 0 || a.micro_batch >= s.micro_batches || a.slot < 0)
      return describe(a, rank) + ": out of range";
    Seen& one = seen[static_cast<size_t>(a.chunk) * static_cast<size_t>(s.micro_batches) + static_cast<size_t>(a.micro_batch)];
    const bool forward = a.phase == Phase::kForward;
    if (!forward && one.forward == 0) return describe(a, rank) + ": before its forward";
    if (a.phase == Phase::kBackwardWeight && one.input == 0) return describe(a, rank) + ": before its input gradient";
    one.forward += forward, one.input += gives_input_gradient(a.phase), one.weight += is_last(a.phase);
    if (std::max({one.forward, one.input, one.weight}) > 1) return describe(a, rank) + ": a second time";
    if (forward) {
      if (const auto [at, fresh] = holder.try_emplace(a.slot, &a); !fresh)
        return describe(a, rank) + ": slot " + std::to_string(a.slot) + " still holds micro-batch " +
               std::to_string(at->second->micro_batch) + " of chunk " + std::to_string(at->second->chunk);
      one.slot = a.slot;
    } else if (one.slot != a.slot) {
      return describe(a, rank) + ": slot " + std::to_string(a.slot) + ", but its activations lie in " + std::to_string(one.slot);
    }
    if (is_last(a.phase)) holder.erase(a.slot);
  }
  for (size_t i = 0; i < seen.size(); ++i)
    if (seen[i].forward + seen[i].input + seen[i].weight != 3)
      return "rank " + std::to_string(rank) + ": chunk " + std::to_string(i / static_cast<size_t>(s.micro_batches)) +
             " does not compute all of micro-batch " + std::to_string(i % static_cast<size_t>(s.micro_batches));
  return "";
}

using Message = std::tuple<int32_t, int32_t>;        // receiving stage, micro-batch
using Channel = std::tuple<int32_t, int32_t, bool>;  // from rank, to rank, gradients

std::string fault_of_order(const std::vector<Actions>& lists, const Shape& s) {
  std::map<Channel, std::vector<Message>> sent, asked;
  for (int32_t r = 0; r < s.ranks; ++r)
    for (const Action& a : lists[static_cast<size_t>(r)]) {
      const int32_t stage = stage_of(s, r, a), last = s.stages() - 1;
      const int32_t next = (r + 1) % s.ranks, before = (r + s.ranks - 1) % s.ranks;
      if (a.phase == Phase::kForward) {
        if (stage > 0) asked[{before, r, false}].emplace_back(stage, a.micro_batch);
        if (stage < last) sent[{r, next, false}].emplace_back(stage + 1, a.micro_batch);
      } else if (gives_input_gradient(a.phase)) {
        if (stage < last) asked[{next, r, true}].emplace_back(stage, a.micro_batch);
        if (stage > 0) sent[{r, before, true}].emplace_back(stage - 1, a.micro_batch);
      }
    }
  for (const auto& [channel, messages] : sent)
    if (asked[channel] != messages)
      return std::string(std::get<2>(channel) ? "gradients" : "results") + " from rank " + std::to_string(std::get<0>(channel)) +
             " to rank " + std::to_string(std::get<1>(channel)) + " are not asked for in the order in which they are sent";
  return "";
}

// Whether the messages that an action needs have been sent, and the memory that it writes is no longer being sent.
class Progress {
 public:
  Progress(const std::vector<Actions>& lists, const Shape& s) : lists_(lists), s_(s), board_(s), next_(lists.size(), 0) {}

  std::string run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int32_t r = 0; r < s_.ranks; ++r)
        while (can_advance(r)) advance(r), moved = true;
    }
    std::string waiting;
    for (int32_t r = 0; r < s_.ranks; ++r)
      if (next_[static_cast<size_t>(r)] < list(r).size())
        waiting += (waiting.empty() ? "deadlock: waiting for ever: " : "; ") + describe(list(r)[next_[static_cast<size_t>(r)]], r);
    return waiting;
  }

 private:
  [[nodiscard]] const Actions& list(int32_t r) const { return lists_[static_cast<size_t>(r)]; }

  bool can_advance(int32_t r) {
    const size_t at = next_[static_cast<size_t>(r)];
    if (at >= list(r).size()) return false;
    const Action& a = list(r)[at];
    const int32_t stage = stage_of(s_, r, a);
    if (a.phase == Phase::kBackwardWeight) return true;
    if (a.phase != Phase::kForward) return stage == s_.stages() - 1 || board_.at(stage + 1, a.micro_batch).input;
    // What had the slot before: its gradient must have been taken by the stage in front of it. On one rank it is handed over at once.
    if (const auto found = last_in_slot_.find({r, a.slot}); found != last_in_slot_.end() && s_.ranks > 1) {
      const auto [before, micro_batch] = found->second;
      if (before > 0 && !board_.at(before - 1, micro_batch).input) return false;
    }
    return stage == 0 || board_.at(stage - 1, a.micro_batch).forward;
  }

  void advance(int32_t r) {
    const Action& a = list(r)[next_[static_cast<size_t>(r)]++];
    Board::Cell& cell = board_.at(stage_of(s_, r, a), a.micro_batch);
    if (a.phase == Phase::kForward) {
      cell.forward = true;
      last_in_slot_[{r, a.slot}] = {stage_of(s_, r, a), a.micro_batch};
    }
    if (gives_input_gradient(a.phase)) cell.input = true;
  }

  const std::vector<Actions>& lists_;
  const Shape& s_;
  Board board_;
  std::vector<size_t> next_;
  std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>> last_in_slot_;  // (rank, slot) -> (stage, micro-batch)
};

class Clock {
 public:
  Clock(const std::vector<Actions>& lists, const Shape& s, const std::vector<StageTime>& times)
      : lists_(lists), s_(s), times_(times), board_(s), next_(lists.size(), 0), now_(lists.size(), 0), held_(lists.size(), 0) {
    line_.busy.resize(lists.size(), 0);
    line_.in_flight.resize(lists.size(), 0);
  }

  Timeline run() {
    std::deque<int32_t> ready;
    for (int32_t r = 0; r < s_.ranks; ++r) ready.push_back(r);
    while (!ready.empty()) {
      const int32_t r = ready.front();
      ready.pop_front();
      const size_t before = next_[static_cast<size_t>(r)];
      while (step(r)) {
      }
      if (next_[static_cast<size_t>(r)] == before) continue;
      for (const int32_t other : {(r + 1) % s_.ranks, (r + s_.ranks - 1) % s_.ranks})
        if (other != r) ready.push_back(other);
    }
    for (const double t : now_) line_.end = std::max(line_.end, t);
    return std::move(line_);
  }

 private:
  // When the action's message is there; negative: not sent yet.
  double arrival(const Action& a, int32_t stage) {
    if (a.phase == Phase::kBackwardWeight) return 0;
    const bool forward = a.phase == Phase::kForward;
    if (stage == (forward ? 0 : s_.stages() - 1)) return 0;
    const Board::Cell& cell = board_.at(forward ? stage - 1 : stage + 1, a.micro_batch);
    if (!(forward ? cell.forward : cell.input)) return -1;
    return forward ? cell.forward_at : cell.input_at;
  }

  static double length(const Action& a, const StageTime& t) {
    switch (a.phase) {
      case Phase::kForward:
        return t.forward;
      case Phase::kBackward:
        return t.backward_input + t.backward_weight;
      case Phase::kBackwardInput:
        return t.backward_input;
      case Phase::kBackwardWeight:
        return t.backward_weight;
    }
    return 0;
  }

  bool step(int32_t r) {
    const auto rank = static_cast<size_t>(r);
    if (next_[rank] >= lists_[rank].size()) return false;
    const Action& a = lists_[rank][next_[rank]];
    const int32_t stage = stage_of(s_, r, a);
    const double arrived = arrival(a, stage);
    if (arrived < 0) return false;
    ++next_[rank];
    const StageTime& t = times_[static_cast<size_t>(stage)];
    const double took = length(a, t), done = std::max(now_[rank], arrived) + took;
    now_[rank] = done;
    line_.busy[rank] += took;
    Board::Cell& cell = board_.at(stage, a.micro_batch);
    if (a.phase == Phase::kForward) {
      cell.forward = true, cell.forward_at = done + t.transfer;
      line_.in_flight[rank] = std::max(line_.in_flight[rank], ++held_[rank]);
    }
    if (gives_input_gradient(a.phase)) cell.input = true, cell.input_at = done + t.transfer;
    held_[rank] -= is_last(a.phase);
    return true;
  }

  const std::vector<Actions>& lists_;
  const Shape& s_;
  const std::vector<StageTime>& times_;
  Board board_;
  std::vector<size_t> next_;
  std::vector<double> now_;
  std::vector<int32_t> held_;
  Timeline line_;
};

}  // namespace

std::string find_fault(const std::vector<Actions>& lists, const Shape& shape) {
  if (static_cast<int32_t>(lists.size()) != shape.ranks)
    return std::to_string(lists.size()) + " lists for " + std::to_string(shape.ranks) + " ranks";
  for (int32_t r = 0; r < shape.ranks; ++r)
    if (std::string fault = fault_in_list(lists[static_cast<size_t>(r)], shape, r); !fault.empty()) return fault;
  if (std::string fault = fault_of_order(lists, shape); !fault.empty()) return fault;
  return Progress(lists, shape).run();
}

double Timeline::bubble() const {
  const double most = *std::max_element(busy.begin(), busy.end());
  return most == 0 ? 0 : end / most - 1;
}

Timeline simulate(const std::vector<Actions>& lists, const Shape& shape, const std::vector<StageTime>& times) {
  return Clock(lists, shape, times).run();
}

}  // namespace nemo::pipeline

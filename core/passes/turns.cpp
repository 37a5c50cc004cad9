#include <algorithm>
#include <array>
#include <vector>

#include "core/ops/cost.hpp"
#include "core/passes/overlap.hpp"
#include "core/passes/pace.hpp"
#include "core/passes/strands.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

enum Strand : uint8_t { kShared = 0, kFirst = 1, kSecond = 2, kMixed = 3 };

struct Turn {
  std::vector<size_t> work, tail;  // ops; the tail begins with a collective
};

class TurnTaker {
 public:
  explicit TurnTaker(Graph& graph) : graph_(graph), last_touch_(graph.values.size(), kNone) {}

  void run() {
    find_strands();
    find_dependencies();
    for (const size_t s : {0U, 1U}) turns_[s] = turns_of(static_cast<Strand>(kFirst + s));
    for (size_t k = 0; k < std::max(turns_[0].size(), turns_[1].size()); ++k)
      for (const size_t s : {0U, 1U}) take(s, k);
    between(true);
    for (size_t i = 0; i < graph_.ops.size(); ++i) place(i);
    std::vector<Op> ops;
    for (const size_t i : order_) ops.push_back(std::move(graph_.ops[i]));
    graph_.ops = std::move(ops);
  }

 private:
  static constexpr size_t kNone = SIZE_MAX;

  // What was computed from a half belongs to it.
  void find_strands() {
    std::vector<uint8_t> mark(graph_.values.size(), kShared);
    for (ValueId v = 1; v < graph_.values.size(); ++v) {
      const Value& value = graph_.value(v);
      if (value.kind == ValueKind::kInput && value.home != 0) mark[v] = value.home_offset == 0 ? kFirst : kSecond;
    }
    for (const Op& op : graph_.ops) {
      uint8_t of = kShared;
      for (const ValueId v : op.inputs) of |= mark[v];
      for (const ValueId v : op.outputs)
        if (v != 0 && graph_.value(v).kind == ValueKind::kResult) mark[v] = of;
      strand_.push_back(of);
    }
  }

  // Producers of what an op reads, and the last op before it that touched the same state.
  void find_dependencies() {
    after_.resize(graph_.ops.size());
    placed_.assign(graph_.ops.size(), false);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      for (const auto* list : {&op.inputs, &op.outputs})
        for (const ValueId v : *list) {
          if (v == 0) continue;
          const bool state = graph_.value(v).kind == ValueKind::kState;
          if (last_touch_[v] != kNone && last_touch_[v] != i && (state || list == &op.inputs)) after_[i].push_back(last_touch_[v]);
          if (state || (list == &op.outputs && graph_.value(v).kind == ValueKind::kResult)) last_touch_[v] = i;
        }
    }
  }

  [[nodiscard]] bool is_heavy(size_t i) const { return ops::cost(graph_, graph_.ops[i], false).flops > 0; }

  [[nodiscard]] std::vector<Turn> turns_of(Strand strand) const {
    std::vector<Turn> turns(1);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (strand_[i] != strand) continue;
      if (!turns.back().tail.empty() && is_heavy(i)) turns.emplace_back();
      const bool tail = !turns.back().tail.empty() || communicates(graph_.ops[i]);
      (tail ? turns.back().tail : turns.back().work).push_back(i);
    }
    return turns;
  }

  // Work of one half, with the other's tail in it where it is ready; then the first op of its own tail.
  void take(size_t s, size_t k) {
    if (k >= turns_[s].size()) return;
    for (const size_t i : turns_[s][k].work) {
      between(false);
      place(i);
    }
    between(true);
    pending_ = turns_[s][k].tail;
    if (pending_.empty()) return;
    place(pending_.front());
    pending_.erase(pending_.begin());
  }

  // Places what is left of the tail at hand: all of it, or what is ready.
  void between(bool all) {
    size_t n = 0;
    for (; n < pending_.size(); ++n) {
      if (!all && !communicates(graph_.ops[pending_[n]]) && link_ > clock_) break;
      place(pending_[n]);
    }
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(n));
  }

  void place(size_t i) {
    if (placed_[i]) return;
    placed_[i] = true;
    for (const size_t before : after_[i]) place(before);
    order_.push_back(i);
    const Op& op = graph_.ops[i];
    if (communicates(op))
      link_ = std::max(link_, clock_) + rough_seconds(graph_, op);
    else
      clock_ += rough_seconds(graph_, op);
  }

  Graph& graph_;
  std::vector<uint8_t> strand_;             // by op
  std::vector<size_t> last_touch_;          // by value
  std::vector<std::vector<size_t>> after_;  // by op: ops that come before it
  std::array<std::vector<Turn>, 2> turns_;
  std::vector<size_t> pending_;  // of the last turn's tail
  std::vector<bool> placed_;
  std::vector<size_t> order_;
  double clock_ = 0, link_ = 0;  // when the work and the collectives placed so far are done
};

}  // namespace

bool take_turns(Graph& graph) {
  const bool split =
      std::any_of(graph.values.begin(), graph.values.end(), [](const Value& v) { return v.kind == ValueKind::kInput && v.home != 0; });
  if (!split) return false;
  hoist_collectives(graph);
  TurnTaker(graph).run();
  return true;
}

}  // namespace nemo::passes

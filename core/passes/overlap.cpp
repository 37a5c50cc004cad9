#include "core/passes/overlap.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "core/passes/pace.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

constexpr size_t kHeldBack = 2;   // weight gradients at a time
constexpr int32_t kUnjoined = 2;  // runs of blocks that an op of stream 1 may be left alone for

// What moves up: a ring's shifts stay where they are, as each holds a block of keys, and so do exchanges of experts.
bool may_move(const Op& op) { return op.name() == "all_gather" || op.name() == "reduce_scatter" || op.name() == "all_reduce"; }

// The op's only results are gradient buffers, and it is one of the products that can wait.
bool can_wait(const Graph& graph, const Op& op) {
  if (op.phase != Phase::kBackward || op.once_per_step || op.name().find("linear_wgrad") == std::string_view::npos) return false;
  return std::all_of(op.outputs.begin(), op.outputs.end(),
                     [&](ValueId v) { return v == 0 || graph.value(v).kind == ValueKind::kGradient; });
}

// What the backward region gathers again from the forward one is ready at any time: it goes in front of the last product before its place,
// which gives it something to run under and keeps the copy short-lived. The op behind which it then stands; -1: there is none.
int32_t ahead_of_work(const Graph& graph, int32_t from, int32_t place) {
  for (int32_t i = place - 1; i > from + 1; --i) {
    const Op& op = graph.ops[static_cast<size_t>(i)];
    if (op.phase == Phase::kBackward && op.name().starts_with("linear_dgrad")) return i - 1;
  }
  return -1;
}

}  // namespace

// Each collective behind the last producer of its inputs.
void hoist_collectives(Graph& graph) {
  const Uses uses = analyse_uses(graph);
  std::vector<std::vector<size_t>> behind(graph.ops.size());
  std::vector<bool> moved(graph.ops.size(), false);
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (!may_move(op) || op.once_per_step) continue;
    int32_t last = -1;
    bool free = true;
    for (const ValueId v : op.inputs) {
      if (v == 0) continue;
      free = free && graph.value(v).kind == ValueKind::kResult && uses.producer[v] >= 0;
      last = std::max(last, uses.producer[v]);
    }
    if (!free || last < 0) continue;
    if (op.phase == Phase::kRecompute && graph.ops[static_cast<size_t>(last)].phase == Phase::kForward)
      last = ahead_of_work(graph, last, static_cast<int32_t>(i));
    else if (graph.ops[static_cast<size_t>(last)].phase != op.phase)
      continue;
    if (last < 0) continue;
    moved[i] = true;
    behind[static_cast<size_t>(last)].push_back(i);
  }
  std::vector<Op> ops;
  ops.reserve(graph.ops.size());
  std::vector<size_t> stack;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    if (moved[i]) continue;
    stack.push_back(i);
    while (!stack.empty()) {
      const size_t at = stack.back();
      stack.pop_back();
      ops.push_back(std::move(graph.ops[at]));
      stack.insert(stack.end(), behind[at].rbegin(), behind[at].rend());
    }
  }
  graph.ops = std::move(ops);
}

namespace {

class HoldBack {
 public:
  HoldBack(Graph& graph, bool across_blocks) : graph_(graph), across_blocks_(across_blocks) {}

  void run() {
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    for (Op& op : ops) {
      if (!across_blocks_ && !held_.empty() && held_.back().block != op.block) release_all();
      if (can_wait(graph_, op)) {
        held_.push_back(std::move(op));
        if (held_.size() > kHeldBack) release();
        continue;
      }
      if (writes_held_buffer(op)) release_all();
      const bool room = communicates(op) && op.phase == Phase::kBackward;
      graph_.ops.push_back(std::move(op));
      if (room && !held_.empty()) release();
    }
    release_all();
  }

 private:
  void release() {
    graph_.ops.push_back(std::move(held_.front()));
    held_.pop_front();
  }
  void release_all() {
    while (!held_.empty()) release();
  }
  [[nodiscard]] bool writes_held_buffer(const Op& op) const {
    return std::any_of(held_.begin(), held_.end(), [&](const Op& held) {
      return std::any_of(held.outputs.begin(), held.outputs.end(),
                         [&](ValueId v) { return v != 0 && std::find(op.outputs.begin(), op.outputs.end(), v) != op.outputs.end(); });
    });
  }

  Graph& graph_;
  bool across_blocks_;
  std::deque<Op> held_;
};

class StreamPlanner {
 public:
  explicit StreamPlanner(const Graph& graph) : graph_(graph), written_(graph.values.size(), kNever), read_(graph.values.size(), kNever) {}

  StreamPlan run() {
    const auto n = static_cast<int32_t>(graph_.ops.size());
    for (int32_t i = 0; i < n; ++i) plan_.stream.push_back(goes_beside(i) ? 1 : 0);
    plan_.wait.assign(graph_.ops.size() + 1, StreamPlan::kNothing);
    plan_.joined.resize(graph_.ops.size());
    for (int32_t i = 0; i < n; ++i) {
      enter(op(i).block);
      if (plan_.stream[at(i)] == 1)
        beside(i);
      else
        compute(i);
    }
    join(n, last_beside_);
    find_company();
    return std::move(plan_);
  }

 private:
  static constexpr int32_t kNever = -1;
  static constexpr double kSlower = 1.5;
  static size_t at(int32_t i) { return static_cast<size_t>(i); }
  [[nodiscard]] const Op& op(int32_t i) const { return graph_.ops[at(i)]; }

  [[nodiscard]] ValueId root(ValueId v) const {
    while (graph_.value(v).home != 0) v = graph_.value(v).home;
    return v;
  }

  // A new run of one block; where two halves of a micro-batch take turns, runs of neighbours alternate and count once.
  void enter(int32_t block) {
    if (block == blocks_[0] || block == blocks_[1]) return;
    blocks_ = {block, blocks_[0]};
    ++region_;
  }

  // The next op of stream 0 does not wait for it.
  [[nodiscard]] bool goes_beside(int32_t i) const {
    if (op(i).stream != 1) return false;
    if (communicates(op(i)) && !may_move(op(i)) && op(i).name() != "ring_shift") return false;
    if (!communicates(op(i))) return i > 0 && plan_.stream[at(i - 1)] == 1;
    for (size_t next = at(i) + 1; next < graph_.ops.size(); ++next) {
      const Op& other = graph_.ops[next];
      if (other.stream == 1) continue;
      return !touches(other, op(i));
    }
    return false;
  }

  [[nodiscard]] bool touches(const Op& later, const Op& earlier) const {
    for (const ValueId out : earlier.outputs)
      for (const auto* list : {&later.inputs, &later.outputs})
        for (const ValueId v : *list)
          if (v != 0 && out != 0 && root(v) == root(out)) return true;
    return false;
  }

  void beside(int32_t i) {
    if (last_compute_ >= forked_ || forked_ == kNever) plan_.wait[at(i)] = forked_ = i;
    for (const ValueId v : op(i).inputs)
      if (v != 0) read_[root(v)] = i;
    for (const ValueId v : op(i).outputs)
      if (v != 0) written_[root(v)] = i;
    open_.push_back({i, region_});
    last_beside_ = i;
  }

  void compute(int32_t i) {
    last_compute_ = i;
    int32_t need = kNever;
    for (const ValueId v : op(i).inputs)
      if (v != 0) need = std::max(need, written_[root(v)]);
    for (const ValueId v : op(i).outputs)
      if (v != 0) need = std::max({need, written_[root(v)], read_[root(v)]});
    if (communicates(op(i))) need = last_beside_;
    for (const Open& o : open_)
      if (region_ - o.region >= kUnjoined) need = std::max(need, o.op);
    join(i, need);
    plan_.joined[at(i)] = i;
  }

  // Stream 0 waits at i for stream 1 up to op `last`.
  void join(int32_t i, int32_t last) {
    if (last == kNever || open_.empty() || open_.front().op > last) return;
    plan_.wait[at(i)] = last + 1;
    while (!open_.empty() && open_.front().op <= last) {
      plan_.joined[at(open_.front().op)] = i;
      open_.pop_front();
    }
  }

  // Both streams at a rough pace; collectives beside work take longer than by themselves.
  void find_company() {
    plan_.beside.assign(graph_.ops.size(), false);
    std::array<double, 2> clock{0, 0};
    std::array<std::vector<std::pair<int32_t, double>>, 2> passed;
    const auto reached = [&](size_t stream, int32_t below) {
      for (auto at = passed[stream].rbegin(); at != passed[stream].rend(); ++at)
        if (at->first < below) return at->second;
      return 0.0;
    };
    for (int32_t i = 0; i < static_cast<int32_t>(graph_.ops.size()); ++i) {
      const auto mine = static_cast<size_t>(plan_.stream[at(i)]), other = 1 - mine;
      if (plan_.wait[at(i)] > 0) clock[mine] = std::max(clock[mine], reached(other, plan_.wait[at(i)]));
      plan_.beside[at(i)] = mine == 0 && clock[1] > clock[0];
      clock[mine] += rough_seconds(graph_, op(i)) * (mine == 1 ? kSlower : 1);
      passed[mine].emplace_back(i, clock[mine]);
    }
  }

  struct Open {
    int32_t op, region;
  };
  const Graph& graph_;
  StreamPlan plan_;
  std::vector<int32_t> written_, read_;                  // by root: the last op of stream 1 that did
  std::deque<Open> open_;                                // ops of stream 1 that nothing has waited for
  std::array<int32_t, 2> blocks_{INT32_MIN, INT32_MIN};  // the last two
  int32_t region_ = 0, forked_ = kNever, last_compute_ = kNever, last_beside_ = kNever;
};

}  // namespace

bool communicates(const Op& op) { return op.row->attribute("mesh") != nullptr && op.name() != "copy_to"; }

void make_room_for_collectives(Graph& graph, bool across_blocks) {
  if (std::none_of(graph.ops.begin(), graph.ops.end(), communicates)) return;
  hoist_collectives(graph);
  HoldBack(graph, across_blocks).run();
}

bool StreamPlan::overlaps() const {
  return std::any_of(stream.begin(), stream.end(), [](int32_t s) { return s == 1; });
}

StreamPlan plan_streams(const Graph& graph) { return StreamPlanner(graph).run(); }

}  // namespace nemo::passes

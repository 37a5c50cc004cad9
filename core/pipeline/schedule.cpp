#include "core/pipeline/schedule.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "core/base/error.hpp"

namespace nemo::pipeline {
namespace {

constexpr std::array<std::pair<std::string_view, Kind>, 4> kWords{
    {{"gpipe", Kind::kGPipe}, {"1f1b", Kind::k1F1B}, {"interleaved", Kind::kInterleaved}, {"zb-h1", Kind::kZeroBubble}}};

std::string numbers(const Shape& s) {
  return std::to_string(s.ranks) + " ranks, " + std::to_string(s.virtual_stages) + " virtual stages, " + std::to_string(s.micro_batches) +
         " micro-batches";
}

void check(Kind kind, const Shape& s) {
  const auto refuse = [&](const std::string& why) {
    throw Error(Code::kConfig, "pipeline schedule '" + std::string(to_string(kind)) + "' (" + numbers(s) + "): " + why);
  };
  if (s.ranks < 1 || s.virtual_stages < 1 || s.micro_batches < 1) refuse("each must be at least 1");
  if (kind != Kind::kInterleaved && s.virtual_stages > 1) refuse("only 'interleaved' has more than one virtual stage per rank");
  if (kind == Kind::kInterleaved && s.virtual_stages < 2) refuse("needs 2 or more virtual stages per rank");
  if (kind == Kind::kInterleaved && s.micro_batches % s.ranks != 0)
    refuse("the micro-batches of one data-parallel rank must be a multiple of the pipeline's ranks; " +
           std::to_string(s.micro_batches % s.ranks) + " are left over. Change data.global_batch_size or data.micro_batch_size");
}

// Forwards k = 0.. and backwards k = 0.. of one rank in an order of their own; `warmup` forwards come first, then they alternate.
template <class Forward, class Backward>
Actions one_forward_one_backward(int32_t total, int32_t warmup, Forward&& forward, Backward&& backward) {
  Actions out;
  for (int32_t k = 0; k < warmup; ++k) out.push_back(forward(k));
  for (int32_t k = 0; k < total; ++k) {
    if (k + warmup < total) out.push_back(forward(k + warmup));
    backward(k, out);
  }
  return out;
}

Actions plain(const Shape& s, int32_t warmup) {
  return one_forward_one_backward(
      s.micro_batches, std::min(warmup, s.micro_batches),
      [](int32_t k) {
        return Action{Phase::kForward, k, 0, 0};
      },
      [](int32_t k, Actions& out) {
        out.push_back({Phase::kBackward, k, 0, 0});
      });
}

// Groups of p micro-batches go through all chunks before the next group starts.
Actions interleaved(const Shape& s, int32_t rank) {
  const int32_t p = s.ranks, v = s.virtual_stages, total = s.micro_batches * v;
  const auto at = [&](Phase phase, int32_t k) {
    const int32_t chunk = k % (p * v) / p;
    return Action{phase, k / (p * v) * p + k % p, phase == Phase::kForward ? chunk : v - 1 - chunk, 0};
  };
  const int32_t warmup = std::min(total, (p - rank - 1) * 2 + (v - 1) * p);
  return one_forward_one_backward(
      total, warmup, [&](int32_t k) { return at(Phase::kForward, k); },
      [&](int32_t k, Actions& out) { out.push_back(at(Phase::kBackward, k)); });
}

// 1F1B whose weight gradients lag behind by as many micro-batches as the rank is far from the first: that is how long its end of the
// pipeline idles, and p - rank in flight + rank waiting = p micro-batches are held on every rank.
Actions zero_bubble(const Shape& s, int32_t rank) {
  const int32_t m = s.micro_batches;
  Actions out = one_forward_one_backward(
      m, std::min(s.ranks - rank - 1, m),
      [](int32_t k) {
        return Action{Phase::kForward, k, 0, 0};
      },
      [&](int32_t k, Actions& list) {
        list.push_back({Phase::kBackwardInput, k, 0, 0});
        if (k >= rank) list.push_back({Phase::kBackwardWeight, k - rank, 0, 0});
      });
  for (int32_t k = std::max(0, m - rank); k < m; ++k) out.push_back({Phase::kBackwardWeight, k, 0, 0});
  return out;
}

// Of the free slots that are large enough the smallest, and of these the one that is free for longest; free again behind the micro-batch's
// last phase in its chunk. With several chunks a slot rests while another is used: the gradient that left it last may be on its way, to a
// rank that waits for this forward. `bytes` by chunk; returns those of each slot.
std::vector<int64_t> assign_slots(Actions& actions, const std::vector<int64_t>& bytes) {
  const size_t resting = bytes.size() > 1 ? 1 : 0;
  std::deque<size_t> free;
  std::vector<int64_t> slots;
  std::map<std::pair<int32_t, int32_t>, size_t> held;  // by chunk and micro-batch
  for (Action& a : actions) {
    size_t& slot = held[{a.chunk, a.micro_batch}];
    if (a.phase == Phase::kForward) {
      const int64_t need = bytes[static_cast<size_t>(a.chunk)];
      const auto usable = static_cast<std::ptrdiff_t>(free.size() - std::min(resting, free.size()));
      auto best = free.begin() + usable;
      for (auto at = free.begin(); at != free.begin() + usable; ++at)
        if (slots[*at] >= need && (best == free.begin() + usable || slots[*at] < slots[*best])) best = at;
      if (best != free.begin() + usable) {
        slot = *best;
        free.erase(best);
      } else {
        slot = slots.size();
        slots.push_back(need);
      }
    }
    a.slot = static_cast<int32_t>(slot);
    if (a.phase == Phase::kBackward || a.phase == Phase::kBackwardWeight) free.push_back(slot);
  }
  return slots;
}

}  // namespace

Kind parse_kind(std::string_view word) {
  for (const auto& [name, kind] : kWords)
    if (name == word) return kind;
  throw Error(Code::kConfig, "no pipeline schedule '" + std::string(word) + "'; there are gpipe, 1f1b, interleaved and zb-h1");
}

std::string_view to_string(Kind kind) {
  for (const auto& [name, k] : kWords)
    if (k == kind) return name;
  return "";
}

Actions schedule(Kind kind, const Shape& shape, int32_t rank) {
  check(kind, shape);
  Actions actions;
  switch (kind) {
    case Kind::kGPipe:
      actions = plain(shape, shape.micro_batches);
      break;
    case Kind::k1F1B:
      actions = plain(shape, shape.ranks - rank - 1);
      break;
    case Kind::kInterleaved:
      actions = interleaved(shape, rank);
      break;
    case Kind::kZeroBubble:
      actions = zero_bubble(shape, rank);
      break;
  }
  (void)assign_slots(actions, std::vector<int64_t>(static_cast<size_t>(shape.virtual_stages), 1));
  return actions;
}

std::vector<Actions> schedule(Kind kind, const Shape& shape) {
  check(kind, shape);
  std::vector<Actions> lists;
  lists.reserve(static_cast<size_t>(shape.ranks));
  for (int32_t r = 0; r < shape.ranks; ++r) lists.push_back(schedule(kind, shape, r));
  return lists;
}

std::vector<int64_t> fit_slots(Actions& actions, const std::vector<int64_t>& bytes) {
  if (std::all_of(actions.begin(), actions.end(), [](const Action& a) { return a.phase == Phase::kForward; })) {
    std::vector<int64_t> own(static_cast<size_t>(slot_count(actions)), 0);
    for (const Action& a : actions) {
      int64_t& slot = own[static_cast<size_t>(a.slot)];
      slot = std::max(slot, bytes[static_cast<size_t>(a.chunk)]);
    }
    return own;
  }
  const int64_t most = *std::max_element(bytes.begin(), bytes.end());
  Actions alike = actions;
  std::vector<int64_t> uniform = assign_slots(alike, std::vector<int64_t>(bytes.size(), most)), fitted = assign_slots(actions, bytes);
  const auto sum = [](const std::vector<int64_t>& slots) { return std::accumulate(slots.begin(), slots.end(), int64_t{0}); };
  if (sum(fitted) <= sum(uniform)) return fitted;
  actions = std::move(alike);
  return uniform;
}

int32_t slot_count(const Actions& actions) {
  int32_t most = 0;
  for (const Action& a : actions) most = std::max(most, a.slot + 1);
  return most;
}

}  // namespace nemo::pipeline

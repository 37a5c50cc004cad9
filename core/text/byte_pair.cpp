#include "core/text/byte_pair.hpp"

#include <queue>

namespace nemo::text {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// A piece of the word in a doubly linked list; id < 0: merged into its left neighbour.
struct Piece {
  int32_t id;
  int32_t previous, next;  // -1: none
};

struct Candidate {
  int32_t rank, at;     // `at` is the left piece
  int32_t left, right;  // ids when found: a stale candidate no longer agrees with the list
  int32_t result;
  bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
};

}  // namespace

BytePairMerger::BytePairMerger(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges) : byte_ids_(byte_ids) {
  targets_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i)
    targets_.emplace(pair_key(merges[i].left, merges[i].right), Target{static_cast<int32_t>(i), merges[i].result});
}

const BytePairMerger::Target* BytePairMerger::find(int32_t left, int32_t right) const {
  const auto found = targets_.find(pair_key(left, right));
  return found == targets_.end() ? nullptr : &found->second;
}

void BytePairMerger::encode(std::string_view word, std::vector<int32_t>& ids) const {
  const auto n = static_cast<int32_t>(word.size());
  std::vector<Piece> pieces(word.size());
  for (int32_t i = 0; i < n; ++i) pieces[i] = {byte_ids_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < n ? i + 1 : -1};

  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](int32_t at) {
    if (at < 0 || pieces[at].next < 0) return;
    const int32_t left = pieces[at].id, right = pieces[pieces[at].next].id;
    if (const Target* t = find(left, right)) queue.push({t->rank, at, left, right, t->result});
  };
  for (int32_t i = 0; i + 1 < n; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Piece& left = pieces[best.at];
    if (left.id != best.left || left.next < 0 || pieces[left.next].id != best.right) continue;
    Piece& right = pieces[left.next];
    left.id = best.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) pieces[left.next].previous = best.at;
    consider(left.previous);
    consider(best.at);
  }
  for (int32_t i = 0; i >= 0 && i < n; i = pieces[i].next) ids.push_back(pieces[i].id);
}

}  // namespace nemo::text

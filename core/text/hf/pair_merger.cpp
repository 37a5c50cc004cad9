#include "core/text/hf/pair_merger.hpp"

#include <algorithm>
#include <array>
#include <functional>

namespace nemo::text::hf {

void PairMerger::reserve(size_t n) {
  int bits = 1;
  while ((size_t{1} << bits) < 2 * n + 2) ++bits;
  entries_.assign(size_t{1} << bits, {});
  mask_ = entries_.size() - 1;
  shift_ = 64 - bits;
}

void PairMerger::add(int32_t left, int32_t right, int32_t rank, int32_t result) {
  const uint64_t pair = key(left, right);
  size_t i = slot(pair);
  while (entries_[i].pair != kEmpty && entries_[i].pair != pair) i = (i + 1) & mask_;
  entries_[i] = {pair, rank, result};
}

void PairMerger::merge(std::vector<Symbol>& symbols) const {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort)
    merge_short(symbols);
  else
    merge_long(symbols);
}

// Keeps the merge of each pair beside its left symbol and looks for the best one anew each time.
void PairMerger::merge_short(std::vector<Symbol>& symbols) const {
  std::array<const Entry*, kShort> merges;
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = find(symbols[i].id, symbols[i + 1].id);
  while (true) {
    const Entry* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < n; ++i)
      if (merges[i] != nullptr && (best == nullptr || merges[i]->rank < best->rank)) {
        best = merges[i];
        at = i;
      }
    if (best == nullptr) break;
    symbols[at] = {best->result, symbols[at].length + symbols[at + 1].length};
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    --n;
    for (size_t i = at + 1; i + 1 < n; ++i) merges[i] = merges[i + 1];
    if (at + 1 < n) merges[at] = find(symbols[at].id, symbols[at + 1].id);
    if (at > 0) merges[at - 1] = find(symbols[at - 1].id, symbols[at].id);
  }
}

// A linked list of symbols and a heap of candidates, rank above and position below in one number. A candidate whose pair has changed since
// is passed over.
void PairMerger::merge_long(std::vector<Symbol>& symbols) const {
  thread_local std::vector<int32_t> previous, next;
  thread_local std::vector<uint64_t> heap;
  const auto n = static_cast<int32_t>(symbols.size());
  previous.resize(symbols.size());
  next.resize(symbols.size());
  heap.clear();
  const auto entry_at = [&](int32_t i) {
    const int32_t right = next[static_cast<size_t>(i)];
    return right < 0 ? nullptr : find(symbols[static_cast<size_t>(i)].id, symbols[static_cast<size_t>(right)].id);
  };
  const auto candidate = [](const Entry& e, int32_t i) {
    return static_cast<uint64_t>(static_cast<uint32_t>(e.rank)) << 32 | static_cast<uint32_t>(i);
  };
  for (int32_t i = 0; i < n; ++i) {
    previous[static_cast<size_t>(i)] = i - 1;
    next[static_cast<size_t>(i)] = i + 1 < n ? i + 1 : -1;
  }
  for (int32_t i = 0; i + 1 < n; ++i)
    if (const Entry* e = entry_at(i)) heap.push_back(candidate(*e, i));
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](int32_t i) {
    if (i < 0) return;
    const Entry* e = entry_at(i);
    if (e == nullptr) return;
    heap.push_back(candidate(*e, i));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto i = static_cast<int32_t>(top & 0xFFFFFFFFu);
    Symbol& left = symbols[static_cast<size_t>(i)];
    if (left.length == 0) continue;
    const Entry* e = entry_at(i);
    if (e == nullptr || candidate(*e, i) != top) continue;
    const int32_t right = next[static_cast<size_t>(i)], after = next[static_cast<size_t>(right)];
    left = {e->result, left.length + symbols[static_cast<size_t>(right)].length};
    symbols[static_cast<size_t>(right)].length = 0;
    next[static_cast<size_t>(i)] = after;
    if (after >= 0) previous[static_cast<size_t>(after)] = i;
    push(previous[static_cast<size_t>(i)]);
    push(i);
  }
  std::erase_if(symbols, [](const Symbol& s) { return s.length == 0; });
}

}  // namespace nemo::text::hf

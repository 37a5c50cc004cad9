// core/text/hf/pair_merger.hpp - the merge loop of byte-pair encoding (Sennrich et al., arXiv:1508.07909).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nemo::text::hf {

struct Symbol {
  int32_t id;
  uint32_t length;  // bytes
};

// Immutable once filled; any thread may merge.
class PairMerger {
 public:
  // Makes room for `n` merges.
  void reserve(size_t n);
  // A pair that was added before gets the new rank and result.
  void add(int32_t left, int32_t right, int32_t rank, int32_t result);

  // Merges the best-ranked adjacent pair, the leftmost of equals, until none is left. O(n log n).
  void merge(std::vector<Symbol>& symbols) const;

 private:
  struct Entry {
    uint64_t pair = kEmpty;
    int32_t rank = 0, result = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static constexpr size_t kShort = 40;  // symbols up to which scanning beats a heap

  [[nodiscard]] static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  [[nodiscard]] size_t slot(uint64_t pair) const { return static_cast<size_t>((pair * 0x9e3779b97f4a7c15u) >> shift_); }
  [[nodiscard]] const Entry* find(int32_t left, int32_t right) const {
    const uint64_t pair = key(left, right);
    for (size_t i = slot(pair);; i = (i + 1) & mask_) {
      if (entries_[i].pair == pair) return &entries_[i];
      if (entries_[i].pair == kEmpty) return nullptr;
    }
  }
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;

  std::vector<Entry> entries_ = std::vector<Entry>(2);
  size_t mask_ = 1;
  int shift_ = 63;
};

}  // namespace nemo::text::hf

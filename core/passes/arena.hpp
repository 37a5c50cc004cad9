// core/passes/arena.hpp - offsets in one growing arena: best fit with coalescing of free ranges.
#pragma once

#include <cstdint>
#include <map>
#include <set>

namespace nemo::passes {

// Sizes are rounded up to 256 bytes, 0 too. O(log n) per call.
class Arena {
 public:
  [[nodiscard]] int64_t allocate(int64_t bytes);
  void release(int64_t offset, int64_t bytes);         // as given to and got from allocate
  [[nodiscard]] int64_t size() const { return end_; }  // bytes of the arena so far
  [[nodiscard]] int64_t in_use() const { return in_use_; }

 private:
  void insert(int64_t offset, int64_t bytes);
  void erase(std::map<int64_t, int64_t>::iterator range);
  std::map<int64_t, int64_t> by_offset_;           // free ranges
  std::set<std::pair<int64_t, int64_t>> by_size_;  // (bytes, offset) of the same
  int64_t end_ = 0;
  int64_t in_use_ = 0;
};

}  // namespace nemo::passes

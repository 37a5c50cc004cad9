#include "core/passes/arena.hpp"

#include <algorithm>
#include <iterator>

namespace nemo::passes {
namespace {
int64_t round_up(int64_t bytes) { return (std::max(bytes, int64_t{1}) + 255) / 256 * 256; }
}  // namespace

int64_t Arena::allocate(int64_t bytes) {
  bytes = round_up(bytes);
  in_use_ += bytes;
  if (const auto fit = by_size_.lower_bound({bytes, 0}); fit != by_size_.end()) {
    const auto [size, offset] = *fit;
    erase(by_offset_.find(offset));
    if (size > bytes) insert(offset + bytes, size - bytes);
    return offset;
  }
  int64_t offset = end_;
  if (!by_offset_.empty()) {
    const auto last = std::prev(by_offset_.end());
    if (last->first + last->second == end_) offset = last->first, erase(last);
  }
  end_ = offset + bytes;
  return offset;
}

void Arena::release(int64_t offset, int64_t bytes) {
  bytes = round_up(bytes);
  in_use_ -= bytes;
  auto next = by_offset_.lower_bound(offset);
  if (next != by_offset_.end() && offset + bytes == next->first) {
    bytes += next->second;
    const auto after = std::next(next);
    erase(next);
    next = after;
  }
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      offset = previous->first;
      bytes += previous->second;
      erase(previous);
    }
  }
  insert(offset, bytes);
}

void Arena::insert(int64_t offset, int64_t bytes) {
  by_offset_[offset] = bytes;
  by_size_.insert({bytes, offset});
}

void Arena::erase(std::map<int64_t, int64_t>::iterator range) {
  by_size_.erase({range->second, range->first});
  by_offset_.erase(range);
}

}  // namespace nemo::passes

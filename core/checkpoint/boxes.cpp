#include "core/checkpoint/boxes.hpp"

#include <algorithm>

namespace nemo::checkpoint {

int64_t Box::elements() const {
  int64_t n = 1;
  for (const int64_t s : size) n *= s;
  return n;
}

// From a position that is a multiple of the volume behind dimension d, whole slices of d follow: as many as fit, up to the end of its own
// row. The outermost such dimension gives the fewest boxes.
std::vector<Box> boxes_of(const std::vector<int64_t>& shape, int64_t first, int64_t count) {
  std::vector<Box> boxes;
  if (shape.empty()) {
    if (count > 0) boxes.push_back({{}, {}, 0});
    return boxes;
  }
  for (int64_t at = first, end = first + count; at < end;) {
    size_t d = 0;
    int64_t volume = 1;
    for (const int64_t s : shape) volume *= s;
    for (volume /= shape[0]; d + 1 < shape.size() && (at % volume != 0 || at + volume > end); volume /= shape[d]) ++d;
    const int64_t index = at / volume % shape[d], slices = std::min((end - at) / volume, shape[d] - index);
    Box box{std::vector<int64_t>(shape.size(), 0), std::vector<int64_t>(shape.size(), 1), at - first};
    for (size_t i = d, rest = static_cast<size_t>(at / volume / shape[d]); i-- > 0;) {
      box.start[i] = static_cast<int64_t>(rest) % shape[i];
      rest /= static_cast<size_t>(shape[i]);
    }
    box.start[d] = index, box.size[d] = slices;
    for (size_t i = d + 1; i < shape.size(); ++i) box.size[i] = shape[i];
    boxes.push_back(std::move(box));
    at += slices * volume;
  }
  return boxes;
}

}  // namespace nemo::checkpoint

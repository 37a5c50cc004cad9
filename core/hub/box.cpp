#include "core/hub/box.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/error.hpp"

namespace nemo::hub {
namespace {

// One dimension of the result: its size and its step in the tensor.
struct Step {
  int64_t size, stride;
};

// Dimensions of size 1 are gone and those that continue one another are joined; at least one is left.
std::vector<Step> steps_of(const Box& box) {
  std::vector<int64_t> stride(box.view.size(), 1);
  for (size_t i = box.view.size(); i-- > 1;) stride[i - 1] = stride[i] * box.view[i];
  std::vector<Step> steps;
  for (const int64_t d : box.order) {
    const Step s{box.length[static_cast<size_t>(d)], stride[static_cast<size_t>(d)]};
    if (s.size == 1) continue;
    if (!steps.empty() && steps.back().stride == s.size * s.stride)
      steps.back() = {steps.back().size * s.size, s.stride};
    else
      steps.push_back(s);
  }
  if (steps.empty()) steps.push_back({1, 1});
  return steps;
}

// Tensor and dense memory change roles between the two directions.
template <class T>
struct Gather {
  static void one(const std::byte* tensor, std::byte* dense) { std::memcpy(dense, tensor, sizeof(T)); }
  static void run(const std::byte* tensor, std::byte* dense, size_t n) { std::memcpy(dense, tensor, n * sizeof(T)); }
  using Tensor = const std::byte*;
  using Dense = std::byte*;
};
template <class T>
struct Scatter {
  static void one(std::byte* tensor, const std::byte* dense) { std::memcpy(tensor, dense, sizeof(T)); }
  static void run(std::byte* tensor, const std::byte* dense, size_t n) { std::memcpy(tensor, dense, n * sizeof(T)); }
  using Tensor = std::byte*;
  using Dense = const std::byte*;
};

constexpr int64_t kTile = 64;  // elements; a tile's rows and columns stay in the first cache level

// rows x columns, in tiles: for a transpose neither side is read or written with gaps for long.
template <class Way, class T>
void plane(typename Way::Tensor tensor, typename Way::Dense dense, Step rows, Step columns) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  for (int64_t r0 = 0; r0 < rows.size; r0 += kTile)
    for (int64_t c0 = 0; c0 < columns.size; c0 += kTile)
      for (int64_t r = r0; r < std::min(r0 + kTile, rows.size); ++r)
        for (int64_t c = c0; c < std::min(c0 + kTile, columns.size); ++c)
          Way::one(tensor + (r * rows.stride + c * columns.stride) * kSize, dense + (r * columns.size + c) * kSize);
}

template <class Way, class T>
void walk(typename Way::Tensor tensor, typename Way::Dense dense, const Step* steps, size_t n) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  if (n == 1 && steps[0].stride == 1) return Way::run(tensor, dense, static_cast<size_t>(steps[0].size));
  if (n == 1) return plane<Way, T>(tensor, dense, {1, 0}, steps[0]);
  if (n == 2 && steps[1].stride != 1) return plane<Way, T>(tensor, dense, steps[0], steps[1]);
  int64_t inner = 1;
  for (size_t i = 1; i < n; ++i) inner *= steps[i].size;
  for (int64_t i = 0; i < steps[0].size; ++i)
    walk<Way, T>(tensor + i * steps[0].stride * kSize, dense + i * inner * kSize, steps + 1, n - 1);
}

template <template <class> class Way>
void copy(typename Way<uint8_t>::Tensor tensor, typename Way<uint8_t>::Dense dense, const Box& box, size_t element) {
  if (box.count() == 0) return;
  const std::vector<Step> steps = steps_of(box);
  tensor += box.offset() * element;
  switch (element) {
    case 1:
      return walk<Way<uint8_t>, uint8_t>(tensor, dense, steps.data(), steps.size());
    case 2:
      return walk<Way<uint16_t>, uint16_t>(tensor, dense, steps.data(), steps.size());
    case 4:
      return walk<Way<uint32_t>, uint32_t>(tensor, dense, steps.data(), steps.size());
    case 8:
      return walk<Way<uint64_t>, uint64_t>(tensor, dense, steps.data(), steps.size());
    default:
      throw Error(Code::kInvalidArgument, "elements of " + std::to_string(element) + " bytes");
  }
}

}  // namespace

uint64_t Box::count() const {
  uint64_t n = 1;
  for (const int64_t l : length) n *= static_cast<uint64_t>(l);
  return n;
}

bool Box::is_run() const {
  const std::vector<Step> steps = steps_of(*this);
  return steps.size() == 1 && steps[0].stride == 1;
}

uint64_t Box::offset() const {
  uint64_t at = 0;
  for (size_t i = 0; i < view.size(); ++i) at = at * static_cast<uint64_t>(view[i]) + static_cast<uint64_t>(start[i]);
  return at;
}

void gather(const std::byte* tensor, const Box& box, size_t element, std::byte* dense) { copy<Gather>(tensor, dense, box, element); }
void scatter(const std::byte* dense, const Box& box, size_t element, std::byte* tensor) { copy<Scatter>(tensor, dense, box, element); }

}  // namespace nemo::hub

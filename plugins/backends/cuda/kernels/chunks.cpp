// take_chunks and put_chunks: parts of dimension 1 copied to other places by the copy engine, all samples at once.
#include <algorithm>
#include <vector>

#include "table.hpp"

namespace nemo::cuda {

namespace {

struct Chunks {
  std::vector<int64_t> take;
  int64_t samples, parts;  // of dimension 0; chunks of the whole
  int64_t bytes;           // of one chunk
};

Chunks chunks_of(const Node& node, const Tensor& whole, const Tensor& part) {
  Chunks c{{}, whole.shape[0], node.integer("chunks"), 0};
  for (const double d : node.numbers("take")) c.take.push_back(static_cast<int64_t>(d));
  const bool inside = std::all_of(c.take.begin(), c.take.end(), [&](int64_t t) { return t >= 0 && t < c.parts; });
  if (c.parts < 1 || whole.shape[1] % c.parts != 0 || !inside) node.refuse("dimension 1 has no such chunks");
  if (part.shape[1] != whole.shape[1] / c.parts * static_cast<int64_t>(c.take.size())) node.refuse("dimension 1 is not the chunks taken");
  node.need_contiguous(whole);
  node.need_contiguous(part);
  c.bytes = whole.size() / std::max<int64_t>(c.samples * c.parts, 1) * sdk::size_of(whole.dtype);
  return c;
}

// Chunks that follow one another in both tensors are one copy.
template <class Copy>
void for_chunks(const Chunks& c, Copy&& copy) {
  for (size_t i = 0; i < c.take.size();) {
    size_t n = 1;
    while (i + n < c.take.size() && c.take[i + n] == c.take[i] + static_cast<int64_t>(n)) ++n;
    copy(c.take[i] * c.bytes, static_cast<int64_t>(i) * c.bytes, static_cast<size_t>(c.bytes) * n);
    i += n;
  }
}

}  // namespace

NEMO_CUDA_KERNEL(take_chunks) {
  return make_kernel([c = chunks_of(node, node.in(0), node.out(0))](const Launch& l) {
    const auto whole = static_cast<size_t>(c.bytes * c.parts), part = static_cast<size_t>(c.bytes) * c.take.size();
    for_chunks(c, [&](int64_t from, int64_t to, size_t width) {
      check(cudaMemcpy2DAsync(l.out<char>(0) + to, part, l.in<char>(0) + from, whole, width, static_cast<size_t>(c.samples),
                              cudaMemcpyDeviceToDevice, l.stream()),
            "take_chunks");
    });
  });
}

NEMO_CUDA_KERNEL(put_chunks) {
  return make_kernel([c = chunks_of(node, node.out(0), node.in(0))](const Launch& l) {
    const auto whole = static_cast<size_t>(c.bytes * c.parts), part = static_cast<size_t>(c.bytes) * c.take.size();
    check(cudaMemsetAsync(l.out(0), 0, whole * static_cast<size_t>(c.samples), l.stream()), "put_chunks");
    for_chunks(c, [&](int64_t to, int64_t from, size_t width) {
      check(cudaMemcpy2DAsync(l.out<char>(0) + to, whole, l.in<char>(0) + from, part, width, static_cast<size_t>(c.samples),
                              cudaMemcpyDeviceToDevice, l.stream()),
            "put_chunks");
    });
  });
}

}  // namespace nemo::cuda

// take_chunks and put_chunks: parts of dimension 1 copied to other places, all samples at once, each byte written once.
#include <algorithm>
#include <vector>

#include "table.hpp"

namespace nemo::cuda {

namespace {

constexpr int kMost = 256;  // chunks of a result
constexpr int kThreads = 256;
constexpr int64_t kUnits = 8;  // of a thread

// For each chunk of the result the chunk that it is copied from; -1: zeros.
struct Sources {
  int16_t chunk[kMost];
};

struct Chunks {
  int64_t samples, from_chunks, to_chunks;
  int64_t bytes;  // of one chunk
  Sources sources;
};

template <class Unit>
__global__ void __launch_bounds__(kThreads) copy_chunks(Unit* __restrict__ to, const Unit* __restrict__ from, Sources sources,
                                                        int64_t units, int64_t from_chunks, int64_t to_chunks) {
  const int64_t sample = blockIdx.y / to_chunks, chunk = blockIdx.y % to_chunks;
  const int source = sources.chunk[chunk];
  const Unit* x = from + (sample * from_chunks + source) * units;
  Unit* y = to + (sample * to_chunks + chunk) * units;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * kUnits + threadIdx.x;
#pragma unroll
  for (int64_t u = 0; u < kUnits; ++u)
    if (const int64_t i = first + u * kThreads; i < units) y[i] = source < 0 ? Unit{} : x[i];
}

template <class Unit>
void launch(const Chunks& c, const Launch& l) {
  const int64_t units = c.bytes / static_cast<int64_t>(sizeof(Unit)), block = kThreads * kUnits;
  if (units == 0 || c.samples == 0) return;
  const dim3 grid(static_cast<unsigned>((units + block - 1) / block), static_cast<unsigned>(c.samples * c.to_chunks));
  copy_chunks<Unit><<<grid, kThreads, 0, l.stream()>>>(l.out<Unit>(0), l.in<Unit>(0), c.sources, units, c.from_chunks, c.to_chunks);
}

Prepared copy(const Chunks& c) {
  return make_kernel([c](const Launch& l) {
    if (c.bytes % static_cast<int64_t>(sizeof(uint4)) == 0)
      launch<uint4>(c, l);
    else
      launch<uint8_t>(c, l);
  });
}

std::vector<int64_t> taken(const Node& node, const Tensor& whole, const Tensor& part) {
  std::vector<int64_t> take;
  for (const double d : node.numbers("take")) take.push_back(static_cast<int64_t>(d));
  const int64_t chunks = node.integer("chunks");
  const bool inside = std::all_of(take.begin(), take.end(), [&](int64_t t) { return t >= 0 && t < chunks; });
  if (chunks < 1 || whole.shape[1] % chunks != 0 || !inside) node.refuse("dimension 1 has no such chunks");
  if (part.shape[1] != whole.shape[1] / chunks * static_cast<int64_t>(take.size())) node.refuse("dimension 1 is not the chunks taken");
  if (chunks > kMost || static_cast<int64_t>(take.size()) > kMost) node.refuse("more than " + std::to_string(kMost) + " chunks");
  if (whole.shape[0] * std::max(chunks, static_cast<int64_t>(take.size())) > 65535) node.refuse("more than 65535 chunks of all samples");
  node.need_contiguous(whole);
  node.need_contiguous(part);
  return take;
}

int64_t bytes_of_chunk(const Node& node, const Tensor& whole) {
  return whole.size() / std::max<int64_t>(whole.shape[0] * node.integer("chunks"), 1) * sdk::size_of(whole.dtype);
}

}  // namespace

NEMO_CUDA_KERNEL(take_chunks) {
  const Tensor &whole = node.in(0), &part = node.out(0);
  const std::vector<int64_t> take = taken(node, whole, part);
  Chunks c{whole.shape[0], node.integer("chunks"), static_cast<int64_t>(take.size()), bytes_of_chunk(node, whole), {}};
  for (size_t i = 0; i < take.size(); ++i) c.sources.chunk[i] = static_cast<int16_t>(take[i]);
  return copy(c);
}

NEMO_CUDA_KERNEL(put_chunks) {
  const Tensor &part = node.in(0), &whole = node.out(0);
  const std::vector<int64_t> take = taken(node, whole, part);
  Chunks c{whole.shape[0], static_cast<int64_t>(take.size()), node.integer("chunks"), bytes_of_chunk(node, whole), {}};
  std::fill(std::begin(c.sources.chunk), std::end(c.sources.chunk), int16_t{-1});
  for (size_t i = 0; i < take.size(); ++i) c.sources.chunk[take[i]] = static_cast<int16_t>(i);
  return copy(c);
}

}  // namespace nemo::cuda

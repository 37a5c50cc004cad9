// take_chunks and put_chunks: parts of dimension 1 copied to other places; pure memory traffic.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

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
  c.bytes = whole.size() / std::max<int64_t>(c.samples * c.parts, 1) * size_of(whole.dtype);
  return c;
}

// each(in the whole, in the part) for every chunk of every sample.
template <class Each>
void for_chunks(Pool& pool, const Chunks& c, Each&& each) {
  const auto n = static_cast<int64_t>(c.take.size());
  pool.split(c.samples * n, std::max<int64_t>(1, 65536 / std::max<int64_t>(c.bytes, 1)), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) each((i / n * c.parts + c.take[static_cast<size_t>(i % n)]) * c.bytes, i * c.bytes);
  });
}

}  // namespace

NEMO_CPU_KERNEL(take_chunks) {
  return make_kernel([c = chunks_of(node, node.in(0), node.out(0)), &pool = device.pool](const Launch& l) {
    for_chunks(pool, c, [&](int64_t whole, int64_t part) {
      std::memcpy(l.out<char>(0) + part, l.in<char>(0) + whole, static_cast<size_t>(c.bytes));
    });
  });
}

NEMO_CPU_KERNEL(put_chunks) {
  return make_kernel([c = chunks_of(node, node.out(0), node.in(0)), &pool = device.pool](const Launch& l) {
    std::memset(l.out<char>(0), 0, static_cast<size_t>(c.samples * c.parts * c.bytes));
    for_chunks(pool, c, [&](int64_t whole, int64_t part) {
      std::memcpy(l.out<char>(0) + whole, l.in<char>(0) + part, static_cast<size_t>(c.bytes));
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"

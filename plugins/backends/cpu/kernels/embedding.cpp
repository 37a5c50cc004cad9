// Table lookup and its gradient.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

NEMO_CPU_KERNEL(embedding) {
  const Matrix table = node.matrix(node.in(1), 1), y = node.matrix(node.out(0), node.group_rank('a'));
  node.need_contiguous(node.in(0));
  const int64_t n = node.size('a'), v = node.size('v'), e = node.size('e'), offset = node.integer("shard_offset"),
                width = size_of(node.compute());
  return make_kernel([=, &pool = device.pool](const Launch& l) {
    Fault negative;
    pool.split(n, row_grain(e), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t id = l.in<int32_t>(0)[i], row = id - offset;
        char* to = l.out<char>(0) + i * y.ld * width;
        if (id < 0) negative.report(i);
        if (row >= 0 && row < v)
          std::memcpy(to, l.in<char>(1) + row * table.ld * width, static_cast<size_t>(e * width));
        else
          std::memset(to, 0, static_cast<size_t>(e * width));
      }
    });
    negative.raise("embedding: negative id");
  });
}

// Tokens of one row are summed in order in arithmetic precision and stored once, so that 16-bit gradient buffers lose nothing. The
// workspace holds a list per row: head[v], next[tokens]. Threads take ranges of columns.
NEMO_CPU_KERNEL(embedding_grad) {
  const Matrix dy = node.matrix(node.in(0), node.group_rank('a')), grad = node.matrix(node.out(0), 1);
  node.need_contiguous(node.in(1));
  const int64_t n = node.size('a'), v = node.size('v'), e = node.size('e'), offset = node.integer("shard_offset");
  const nemo_dtype grad_type = node.out(0).dtype;
  const uint64_t head_bytes = align_up(static_cast<uint64_t>(v) * sizeof(int32_t));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          int32_t* head = l.workspace<int32_t>();
          int32_t* next = l.workspace<int32_t>(head_bytes);
          std::fill(head, head + v, -1);
          for (int64_t i = n; i-- > 0;) {
            const int64_t row = l.in<int32_t>(1)[i] - offset;
            if (row < 0 || row >= v) continue;
            next[i] = head[row];
            head[row] = static_cast<int32_t>(i);
          }
          pool.split((e + 15) / 16, 1, [&](int64_t begin, int64_t end, int) {
            const int64_t first = begin * 16, last = std::min(e, end * 16);
            C sum[kBlock];
            for (int64_t row = 0; row < v; ++row) {
              if (head[row] < 0 && l.write() == Write::accumulate) continue;
              for (int64_t c0 = first; c0 < last; c0 += kBlock) {
                const int64_t cols = std::min(kBlock, last - c0);
                std::fill(sum, sum + cols, C(0));
                for (int32_t i = head[row]; i >= 0; i = next[i]) {
                  const T* x = l.in<T>(0) + i * dy.ld + c0;
#pragma omp simd
                  for (int64_t c = 0; c < cols; ++c) sum[c] += widen(x[c]);
                }
                store(sum, cols, grad_type, l.out(0), row * grad.ld + c0, l.write());
              }
            }
          });
        },
        head_bytes + align_up(static_cast<uint64_t>(n) * sizeof(int32_t)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"

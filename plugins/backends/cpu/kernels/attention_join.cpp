// attention_join: results for two sets of keys become the result for both. Bound by memory.
//   y_lse = log(e^lse + e^more_lse), y = e^(lse - y_lse) o + e^(more_lse - y_lse) more
#include "kernels/arch.hpp"

#include "kernels/attention_tile.hpp"
#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

NEMO_CPU_KERNEL(attention_join) {
  const Heads o(node.in(0)), more(node.in(2)), y(node.out(0));
  for (const size_t i : {1, 3}) node.need_contiguous(node.in(i));
  node.need_contiguous(node.out(1));
  const int64_t b = node.size('b'), s = node.size('s'), h = node.size('h'), e = node.size('e');
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.each(b * h, [&](int64_t pair, int) {
        const int64_t batch = pair / h, head = pair % h;
        for (int64_t i = 0; i < s; ++i) {
          const C p = l.in<C>(1)[pair * s + i], q = l.in<C>(3)[pair * s + i], top = std::max(p, q);
          const bool nothing = top == -std::numeric_limits<C>::infinity();
          const C wp = nothing ? C(0) : std::exp(p - top), wq = nothing ? C(0) : std::exp(q - top), sum = wp + wq;
          const C fp = nothing ? C(0) : wp / sum, fq = nothing ? C(0) : wq / sum;
          const T *x = l.in<T>(0) + o.at(batch, i, head), *z = l.in<T>(2) + more.at(batch, i, head);
          T* to = l.out<T>(0) + y.at(batch, i, head);
#pragma omp simd
          for (int64_t c = 0; c < e; ++c) to[c] = narrow<T>(fp * widen(x[c]) + fq * widen(z[c]));
          l.out<C>(1)[pair * s + i] = nothing ? top : top + std::log(sum);
        }
      });
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"

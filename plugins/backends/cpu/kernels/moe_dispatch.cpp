// moe_dispatch, moe_combine and gradients: rows move between token order and expert order. Bound by memory: each reads and writes every row
// once.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// Rows of [*a k d] as a matrix, choices of [*a k].
Matrix rows_of(const Node& node, const Tensor& t) { return node.matrix(t, node.group_rank('a') + 1); }
Matrix tokens_of(const Node& node, const Tensor& t) { return node.matrix(t, node.group_rank('a')); }

}  // namespace

// A counting sort by expert, stable in the order of choices.
NEMO_CPU_KERNEL(moe_dispatch) {
  const Matrix x = tokens_of(node, node.in(0)), rows = rows_of(node, node.out(0));
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.out(1));
  node.need_contiguous(node.out(2));
  const int64_t tokens = node.size('a'), k = node.size('k'), d = node.size('d'), experts = node.integer("experts");
  if (experts < 1) node.refuse("attribute experts must be positive");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          const int32_t* chosen = l.in<int32_t>(1);
          int32_t *ids = l.out<int32_t>(1), *slots = l.out<int32_t>(2), *next = l.workspace<int32_t>();
          Fault fault;
          std::fill(next, next + experts + 1, 0);
          for (int64_t i = 0; i < tokens * k; ++i) {
            if (chosen[i] < 0 || chosen[i] >= experts) fault.report(i);
            fault.raise("moe_dispatch: a choice that is no expert");
            ++next[chosen[i] + 1];
          }
          for (int64_t e = 0; e < experts; ++e) next[e + 1] += next[e];
          for (int64_t i = 0; i < tokens * k; ++i) {
            slots[i] = next[chosen[i]]++;
            ids[slots[i]] = chosen[i];
          }
          pool.split(tokens * k, row_grain(d), [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
              const T* from = l.in<T>(0) + i / k * x.ld;
              std::copy(from, from + d, l.out<T>(0) + slots[i] * rows.ld);
            }
          });
        },
        align_up(static_cast<uint64_t>(experts + 1) * sizeof(int32_t)));
  });
}

NEMO_CPU_KERNEL(moe_dispatch_grad) {
  const Matrix rows = rows_of(node, node.in(0)), dx = tokens_of(node, node.out(0));
  node.need_contiguous(node.in(1));
  const int64_t tokens = node.size('a'), k = node.size('k'), d = node.size('d');
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(tokens, row_grain(d * k), [&](int64_t begin, int64_t end, int) {
        C sum[kBlock];
        for (int64_t t = begin; t < end; ++t)
          for (int64_t i = 0; i < d; i += kBlock) {
            const int64_t n = std::min(kBlock, d - i);
            std::fill(sum, sum + n, C(0));
            for (int64_t j = 0; j < k; ++j) {
              const T* row = l.in<T>(0) + l.in<int32_t>(1)[t * k + j] * rows.ld + i;
#pragma omp simd
              for (int64_t c = 0; c < n; ++c) sum[c] += widen(row[c]);
            }
            store(sum, n, l.out<T>(0) + t * dx.ld + i, Write::overwrite);
          }
      });
    });
  });
}

NEMO_CPU_KERNEL(moe_combine) {
  const Matrix rows = rows_of(node, node.in(0)), y = tokens_of(node, node.out(0));
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.in(2));
  const int64_t tokens = node.size('a'), k = node.size('k'), d = node.size('d');
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(tokens, row_grain(d * k), [&](int64_t begin, int64_t end, int) {
        C sum[kBlock];
        for (int64_t t = begin; t < end; ++t)
          for (int64_t i = 0; i < d; i += kBlock) {
            const int64_t n = std::min(kBlock, d - i);
            std::fill(sum, sum + n, C(0));
            for (int64_t j = 0; j < k; ++j) {
              const T* row = l.in<T>(0) + l.in<int32_t>(1)[t * k + j] * rows.ld + i;
              const C weight = l.in<C>(2)[t * k + j];
#pragma omp simd
              for (int64_t c = 0; c < n; ++c) sum[c] += weight * widen(row[c]);
            }
            store(sum, n, l.out<T>(0) + t * y.ld + i, Write::overwrite);
          }
      });
    });
  });
}

NEMO_CPU_KERNEL(moe_combine_grad) {
  const Matrix dy = tokens_of(node, node.in(0)), rows = rows_of(node, node.in(1)), drows = rows_of(node, node.out(0));
  node.need_contiguous(node.in(2));
  node.need_contiguous(node.in(3));
  node.need_contiguous(node.out(1));
  const int64_t tokens = node.size('a'), k = node.size('k'), d = node.size('d');
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(tokens * k, row_grain(2 * d), [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const T *up = l.in<T>(0) + i / k * dy.ld, *row = l.in<T>(1) + l.in<int32_t>(2)[i] * rows.ld;
          T* to = l.out<T>(0) + l.in<int32_t>(2)[i] * drows.ld;
          const C weight = l.in<C>(3)[i];
          C dot = 0;
#pragma omp simd reduction(+ : dot)
          for (int64_t c = 0; c < d; ++c) {
            dot += widen(up[c]) * widen(row[c]);
            to[c] = narrow<T>(weight * widen(up[c]));
          }
          l.out<C>(1)[i] = dot;
        }
      });
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"

// linear with what stands before or behind it: bias and activation forward, the activation's slope and the bias gradient in the gradient of
// the input. A product, then one pass over its rows.
#include "kernels/arch.hpp"

#include "kernels/activations.hpp"
#include "kernels/column_sums.hpp"
#include "kernels/gemm.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

Matrix split_at(const Node& node, const Tensor& t, char rows) { return node.matrix(t, node.group_rank(rows)); }

// f(row index) over the pool.
template <class F>
void each_row(Pool& pool, int64_t rows, int64_t cols, const F& f) {
  pool.split(rows, row_grain(cols), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) f(r);
  });
}

}  // namespace

NEMO_CPU_KERNEL(linear_activation) {
  const Matrix x = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), y = split_at(node, node.out(0), 'a');
  const bool biased = node.in(2).present(), keeps = node.out(1).present();
  node.need_contiguous(node.in(2));
  const Matrix pre = keeps ? split_at(node, node.out(1), 'a') : y;
  const nemo_dtype d = node.compute();
  const Product p{node.size('a'), node.size('n'), node.size('k'), Transpose::no, Transpose::yes, d, d, d, x.ld, w.ld, pre.ld};
  Device held = device;
  return with_activation(node, [&](auto act) {
    return with_type(d, [&](auto tag) {
      using T = decltype(tag);
      return make_kernel(
          [=](const Launch& l) {
            T* at = keeps ? l.out<T>(1) : l.out<T>(0);
            multiply(held, p, l.in(0), l.in(1), at, Write::overwrite, biased ? l.in(2) : nullptr, l.workspace<char>());
            each_row(held.pool, y.rows, y.cols, [&](int64_t r) {
              const T* from = at + r * pre.ld;
              T* to = l.out<T>(0) + r * y.ld;
#pragma omp simd
              for (int64_t i = 0; i < y.cols; ++i) to[i] = narrow<T>(decltype(act)::value(widen(from[i])));
            });
          },
          product_workspace(p, device));
    });
  });
}

NEMO_CPU_KERNEL(linear_dgrad_activation) {
  const Matrix dy = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), pre = split_at(node, node.in(2), 'a'),
               dx = split_at(node, node.out(0), 'a');
  node.need_contiguous(node.out(1));
  const nemo_dtype d = node.compute(), bias_type = node.out(1).dtype;
  const Product p{node.size('a'), node.size('k'), node.size('n'), Transpose::no, Transpose::no, d, d, d, dy.ld, w.ld, dx.ld};
  Device held = device;
  return with_activation(node, [&](auto act) {
    return with_type(d, [&](auto tag) {
      using T = decltype(tag);
      using C = compute_t<T>;
      const ColumnSums sums(device.pool, dx.rows, dx.cols);
      return make_kernel(
          [=](const Launch& l) {
            multiply(held, p, l.in(0), l.in(1), l.out(0), Write::overwrite, nullptr, l.workspace<char>());
            C* partial = l.workspace<C>();
            held.pool.split(dx.rows, row_grain(dx.cols), [&](int64_t begin, int64_t end, int part) {
              C* sum = sums.partial(partial, part);
              if (bias_type != 0) std::fill(sum, sum + dx.cols, C(0));
              for (int64_t r = begin; r < end; ++r) {
                const T* x = l.in<T>(2) + r * pre.ld;
                T* to = l.out<T>(0) + r * dx.ld;
#pragma omp simd
                for (int64_t i = 0; i < dx.cols; ++i) to[i] = narrow<T>(widen(to[i]) * decltype(act)::slope(widen(x[i])));
                if (bias_type == 0) continue;
#pragma omp simd
                for (int64_t i = 0; i < dx.cols; ++i) sum[i] += widen(to[i]);
              }
            });
            if (bias_type != 0) sums.finish(held.pool, partial, bias_type, l.out(1), l.write());
          },
          std::max(product_workspace(p, device), sums.bytes<C>()));
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"

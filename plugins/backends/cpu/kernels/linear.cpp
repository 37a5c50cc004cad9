// linear and its gradients: matrix products over the collapsed groups. 2 a n k flops each; bound by the multiply units.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/column_sums.hpp"
#include "kernels/gemm.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// Of a matrix operand: x by rows [a | k], w by rows [n | k].
Matrix split_at(const Node& node, const Tensor& t, char rows) { return node.matrix(t, node.group_rank(rows)); }

}  // namespace

NEMO_CPU_KERNEL(linear) {
  const Matrix x = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), y = split_at(node, node.out(0), 'a');
  const bool biased = node.in(2).present();
  node.need_contiguous(node.in(2));
  const nemo_dtype d = node.compute();
  const Product p{node.size('a'), node.size('n'), node.size('k'), Transpose::no, Transpose::yes, d, d, d, x.ld, w.ld, y.ld};
  Device held = device;
  return make_kernel(
      [=](const Launch& l) {
        multiply(held, p, l.in(0), l.in(1), l.out(0), Write::overwrite, biased ? l.in(2) : nullptr, l.workspace<char>());
      },
      product_workspace(p, device));
}

NEMO_CPU_KERNEL(linear_dgrad) {
  const Matrix dy = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), dx = split_at(node, node.out(0), 'a');
  const nemo_dtype d = node.compute();
  const Product p{node.size('a'), node.size('k'), node.size('n'), Transpose::no, Transpose::no, d, d, d, dy.ld, w.ld, dx.ld};
  Device held = device;
  return make_kernel(
      [=](const Launch& l) { multiply(held, p, l.in(0), l.in(1), l.out(0), Write::overwrite, nullptr, l.workspace<char>()); },
      product_workspace(p, device));
}

NEMO_CPU_KERNEL(linear_wgrad) {
  const Matrix dy = split_at(node, node.in(0), 'a'), x = split_at(node, node.in(1), 'a'), dw = split_at(node, node.out(0), 'n');
  const nemo_dtype d = node.compute();
  const Product p{node.size('n'),    node.size('k'), node.size('a'), Transpose::yes, Transpose::no, d, d,
                  node.out(0).dtype, dy.ld,          x.ld,           dw.ld};
  Device held = device;
  return make_kernel([=](const Launch& l) { multiply(held, p, l.in(0), l.in(1), l.out(0), l.write(), nullptr, l.workspace<char>()); },
                     product_workspace(p, device));
}

NEMO_CPU_KERNEL(bias_grad) {
  const Matrix dy = split_at(node, node.in(0), 'a');
  node.need_contiguous(node.out(0));
  const int64_t rows = node.size('a'), cols = node.size('n'), skip = node.integer("zero_start"),
                resume = skip + node.integer("zero_length");
  if (skip < 0 || resume < skip || resume > cols) node.refuse("zero_start and zero_length lie outside of the bias");
  const nemo_dtype grad = node.out(0).dtype;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const ColumnSums sums(device.pool, rows, cols);
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C* partial = l.workspace<C>();
          pool.split(rows, row_grain(cols), [&](int64_t begin, int64_t end, int part) {
            C* p = sums.partial(partial, part);
            std::fill(p, p + cols, C(0));
            for (int64_t r = begin; r < end; ++r) {
              const T* row = l.in<T>(0) + r * dy.ld;
#pragma omp simd
              for (int64_t i = 0; i < skip; ++i) p[i] += widen(row[i]);
#pragma omp simd
              for (int64_t i = resume; i < cols; ++i) p[i] += widen(row[i]);
            }
          });
          sums.finish(pool, partial, grad, l.out(0), l.write());
        },
        sums.bytes<C>());
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"

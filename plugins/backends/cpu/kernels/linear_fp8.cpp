// Products of 8-bit operands with one factor per tensor: widened to f32, summed in f32, times both factors.
#include "kernels/arch.hpp"

#include "kernels/gemm.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// A [m k] times B [n k] transposed, both contiguous.
Product product_of(const Node& node, int64_t m, int64_t n, int64_t k, const Tensor& result, int64_t ld) {
  for (size_t i = 0; i < 2; ++i) {
    if (node.in(i).dtype != NEMO_DTYPE_E4M3 && node.in(i).dtype != NEMO_DTYPE_E5M2) node.refuse("operands must be e4m3 or e5m2");
    node.need_contiguous(node.in(i));
  }
  if (!is_floating(result.dtype) || result.dtype == NEMO_DTYPE_F64) node.refuse("the result must be f32, bf16 or f16");
  return {m, n, k, Transpose::no, Transpose::yes, node.in(0).dtype, node.in(1).dtype, result.dtype, k, k, ld};
}

float factor_of(const Launch& l) { return *l.in<float>(2) * *l.in<float>(3); }

}  // namespace

NEMO_CPU_KERNEL(linear_fp8) {
  const Matrix y = node.matrix(node.out(0), node.group_rank('a'));
  const bool biased = node.in(4).present();
  const nemo_dtype bias = node.in(4).dtype;
  node.need_contiguous(node.in(4));
  const Product p = product_of(node, node.size('a'), node.size('n'), node.size('k'), node.out(0), y.ld);
  Device held = device;
  return make_kernel(
      [=](const Launch& l) {
        multiply(held, p, l.in(0), l.in(1), l.out(0), Write::overwrite, biased ? l.in(4) : nullptr, l.workspace<char>(), factor_of(l),
                 bias);
      },
      product_workspace(p, device));
}

NEMO_CPU_KERNEL(linear_dgrad_fp8) {
  const Matrix dx = node.matrix(node.out(0), node.group_rank('a'));
  const Product p = product_of(node, node.size('a'), node.size('k'), node.size('n'), node.out(0), dx.ld);
  Device held = device;
  return make_kernel(
      [=](const Launch& l) { multiply(held, p, l.in(0), l.in(1), l.out(0), Write::overwrite, nullptr, l.workspace<char>(), factor_of(l)); },
      product_workspace(p, device));
}

NEMO_CPU_KERNEL(linear_wgrad_fp8) {
  const Matrix dw = node.matrix(node.out(0), node.group_rank('n'));
  const Product p = product_of(node, node.size('n'), node.size('k'), node.size('a'), node.out(0), dw.ld);
  Device held = device;
  return make_kernel(
      [=](const Launch& l) { multiply(held, p, l.in(0), l.in(1), l.out(0), l.write(), nullptr, l.workspace<char>(), factor_of(l)); },
      product_workspace(p, device));
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"

// Products of 8-bit operands with one factor per tensor. Hopper's tensor cores take both operands with the summed dimension contiguous, so
// gradients read transposed copies (kernels/quantize.cu). Forward products keep partial sums in the tensor core's narrower accumulator
// (about 14 bits), gradients do not: twice the rate of bf16 either way. 2 a n k flops each; bound by the tensor cores.
#include "gemm.hpp"
#include "table.hpp"

namespace nemo::cuda {

namespace {

// op A [m k] times op B [n k] transposed, both contiguous.
Product product_of(const Node& node, int64_t m, int64_t n, int64_t k, const Tensor& result, int64_t ld) {
  const nemo_dtype a = node.in(0).dtype, b = node.in(1).dtype;
  const auto is_fp8 = [](nemo_dtype d) { return d == NEMO_DTYPE_E4M3 || d == NEMO_DTYPE_E5M2; };
  if (!is_fp8(a) || !is_fp8(b)) node.refuse("operands must be e4m3 or e5m2");
  if (a == NEMO_DTYPE_E5M2 && b == NEMO_DTYPE_E5M2) node.refuse("one of the operands must be e4m3");
  if (!is_floating(result.dtype)) node.refuse("the result must be f32, bf16 or f16");
  if (m % 16 != 0 || n % 16 != 0 || k % 16 != 0) node.refuse("sizes must be multiples of 16");
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.in(1));
  Product p{m, n, k, Transpose::no, Transpose::yes, a, result.dtype, k, k, ld};
  p.b = b;
  return p;
}

Operands operands(const Launch& l, const void* bias = nullptr) {
  Operands o{l.in(0), l.in(1), l.out(0), bias};
  o.a_scale = l.in<float>(2);
  o.b_scale = l.in<float>(3);
  return o;
}

}  // namespace

NEMO_CUDA_KERNEL(linear_fp8) {
  const Matrix y = node.matrix(node.out(0), node.group_rank('a'));
  const bool biased = node.in(4).present();
  node.need_contiguous(node.in(4));
  Product p = product_of(node, node.size('a'), node.size('n'), node.size('k'), node.out(0), y.ld);
  if (biased && (node.out(0).dtype == NEMO_DTYPE_F32 || node.in(4).dtype != node.out(0).dtype))
    node.refuse("a bias needs a result of its own dtype, bf16 or f16");
  p.epilogue = biased ? Epilogue::bias : Epilogue::none;
  p.arithmetic = Arithmetic::fast;
  const GemmPlans plans = device.gemm->plan(p);
  return make_kernel([=](const Launch& l) { plans.run(operands(l, biased ? l.in(4) : nullptr), l.workspace<char>(), l.stream()); },
                     plans.workspace());
}

NEMO_CUDA_KERNEL(linear_dgrad_fp8) {
  const Matrix dx = node.matrix(node.out(0), node.group_rank('a'));
  const GemmPlans plans = device.gemm->plan(product_of(node, node.size('a'), node.size('k'), node.size('n'), node.out(0), dx.ld));
  return make_kernel([=](const Launch& l) { plans.run(operands(l), l.workspace<char>(), l.stream()); }, plans.workspace());
}

// The gradient buffer is read and written by the product itself (beta = 1) where it accumulates.
NEMO_CUDA_KERNEL(linear_wgrad_fp8) {
  const Matrix dw = node.matrix(node.out(0), node.group_rank('n'));
  Product p = product_of(node, node.size('n'), node.size('k'), node.size('a'), node.out(0), dw.ld);
  const GemmPlans overwrite = device.gemm->plan(p);
  p.write = Write::accumulate;
  const GemmPlans add = device.gemm->plan(p);
  return make_kernel(
      [=](const Launch& l) { (l.write() == Write::accumulate ? add : overwrite).run(operands(l), l.workspace<char>(), l.stream()); },
      std::max(overwrite.workspace(), add.workspace()));
}

}  // namespace nemo::cuda

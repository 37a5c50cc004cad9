// linear and its gradients: matrix products over the collapsed groups. 2 a n k flops each; bound by the tensor cores.
#include "gemm.hpp"
#include "table.hpp"

namespace nemo::cuda {

namespace {

// Of a matrix operand: x by rows [a | k], w by rows [n | k].
Matrix split_at(const Node& node, const Tensor& t, char rows) { return node.matrix(t, node.group_rank(rows)); }

Arithmetic arithmetic_of(const Node& node) { return node.integer("tf32") != 0 ? Arithmetic::tf32 : Arithmetic::plain; }

}  // namespace

NEMO_CUDA_KERNEL(linear) {
  const Matrix x = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), y = split_at(node, node.out(0), 'a');
  const bool biased = node.in(2).present();
  node.need_contiguous(node.in(2));
  const nemo_dtype d = node.compute();
  Product p{node.size('a'), node.size('n'), node.size('k'), Transpose::no, Transpose::yes, d, d, x.ld, w.ld, y.ld};
  p.epilogue = biased ? Epilogue::bias : Epilogue::none;
  p.arithmetic = arithmetic_of(node);
  const GemmPlans plans = device.gemm->plan(p);
  return make_kernel(
      [=](const Launch& l) {
        plans.run({l.in(0), l.in(1), l.out(0), biased ? l.in(2) : nullptr}, l.workspace<char>(), l.stream());
      },
      plans.workspace());
}

NEMO_CUDA_KERNEL(linear_dgrad) {
  const Matrix dy = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), dx = split_at(node, node.out(0), 'a');
  const nemo_dtype d = node.compute();
  Product p{node.size('a'), node.size('k'), node.size('n'), Transpose::no, Transpose::no, d, d, dy.ld, w.ld, dx.ld};
  p.arithmetic = arithmetic_of(node);
  const GemmPlans plans = device.gemm->plan(p);
  return make_kernel([=](const Launch& l) { plans.run({l.in(0), l.in(1), l.out(0)}, l.workspace<char>(), l.stream()); }, plans.workspace());
}

// The gradient buffer is read and written by the product itself (beta = 1) where it accumulates.
NEMO_CUDA_KERNEL(linear_wgrad) {
  const Matrix dy = split_at(node, node.in(0), 'a'), x = split_at(node, node.in(1), 'a'), dw = split_at(node, node.out(0), 'n');
  const nemo_dtype d = node.compute();
  if (node.out(0).dtype != d && node.out(0).dtype != NEMO_DTYPE_F32) node.refuse("f32 products have f32 gradients");
  Product p{node.size('n'), node.size('k'), node.size('a'), Transpose::yes, Transpose::no, d, node.out(0).dtype, dy.ld, x.ld, dw.ld};
  p.arithmetic = arithmetic_of(node);
  const GemmPlans overwrite = device.gemm->plan(p);
  p.write = Write::accumulate;
  const GemmPlans add = device.gemm->plan(p);
  return make_kernel(
      [=](const Launch& l) {
        (l.write() == Write::accumulate ? add : overwrite).run({l.in(0), l.in(1), l.out(0)}, l.workspace<char>(), l.stream());
      },
      std::max(overwrite.workspace(), add.workspace()));
}

}  // namespace nemo::cuda

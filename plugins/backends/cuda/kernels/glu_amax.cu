// glu and its gradient with the largest magnitude of what they make, for the quantization behind them: no pass of its own. Bound by memory.
#include "kernels/activations.cuh"
#include "kernels/map.cuh"

namespace nemo::cuda {

namespace {

template <int kIn, int kOut, class F>
Prepared map_with_top(const Node& node, const F& f) {
  std::vector<const Tensor*> tensors;
  for (size_t i = 0; i < kIn; ++i) tensors.push_back(&node.in(i));
  for (size_t i = 0; i < kOut; ++i) tensors.push_back(&node.out(i));
  const Aligned layout = node.align(tensors);
  return with_type(node.compute(), [&](auto tag) {
    return make_kernel([layout, f](const Launch& l) { launch_map<decltype(tag), kIn, kOut>(l, layout, f, l.out<float>(kOut)); });
  });
}

}  // namespace

NEMO_CUDA_KERNEL(glu_amax) {
  return with_activation(node, [&](auto act) { return map_with_top<2, 1>(node, Glu<decltype(act)>{}); });
}
NEMO_CUDA_KERNEL(glu_grad_amax) {
  return with_activation(node, [&](auto act) { return map_with_top<3, 2>(node, GluGrad<decltype(act)>{}); });
}

}  // namespace nemo::cuda

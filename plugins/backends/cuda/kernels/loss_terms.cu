// add_loss and its gradient: scalars, and a count of labels.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

// total nullptr: 0. labels nullptr: weight 1. One block.
__global__ void __launch_bounds__(1024) add_term_kernel(const float* total, const float* term, const int32_t* labels, int64_t n,
                                                        int32_t ignored, bool quotient, double coefficient, float* y) {
  __shared__ int scratch[32];
  int counted[1] = {0};
  if (labels != nullptr)
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) counted[0] += labels[i] != ignored;
  block_reduce<1>(counted, scratch, Sum{});
  if (threadIdx.x != 0) return;
  const double weight = quotient ? static_cast<double>(labels[0]) / static_cast<double>(labels[1]) : labels != nullptr ? counted[0] : 1.0;
  *y = static_cast<float>((total != nullptr ? static_cast<double>(*total) : 0.0) + coefficient * weight * static_cast<double>(*term));
}

Prepared add_term(const Node& node, size_t labels_at) {
  const Tensor& labels = node.in(labels_at);
  node.need_contiguous(labels);
  const bool counts = labels.present(), has_total = labels_at == 2, quotient = node.integer("quotient") != 0;
  const int64_t n = counts ? labels.size() : 0;
  if (quotient && n != 2) node.refuse("a quotient needs two numbers");
  const auto ignored = static_cast<int32_t>(node.integer("ignore_index"));
  const double coefficient = node.number("coefficient");
  const int at = static_cast<int>(labels_at);
  return make_kernel([=](const Launch& l) {
    add_term_kernel<<<1, 1024, 0, l.stream()>>>(has_total ? l.in<float>(0) : nullptr, l.in<float>(at - 1),
                                                counts ? l.in<int32_t>(at) : nullptr, n, ignored, quotient, coefficient, l.out<float>(0));
  });
}

}  // namespace

NEMO_CUDA_KERNEL(add_loss) { return add_term(node, 2); }
NEMO_CUDA_KERNEL(add_loss_grad) { return add_term(node, 1); }

}  // namespace nemo::cuda

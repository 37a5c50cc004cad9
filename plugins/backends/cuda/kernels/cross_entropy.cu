// Per-token loss and its pieces over a sharded vocabulary: a block per row, one pass over the logits for the loss (running maximum and
// sum), one for the gradient; bound by memory.
#include "kernels/loss_row.cuh"

namespace nemo::cuda {

namespace {

// Four blocks per multiprocessor, so that the ends of their rows meet other rows' middles (4096 x 50304 on an H100: 141 us, two blocks of
// 512 threads 156 us).
constexpr int kRowThreads = 320;

template <class T>
__global__ void __launch_bounds__(kRowThreads, 4)
    loss_kernel(const LossSpec p, const T* x, int64_t ld, const int32_t* labels, float* loss, float* lse_out, int* fault) {
  __shared__ float scratch[96];
  const int64_t r = blockIdx.x, label = labels[r];
  const T* row = x + r * ld;
  const RowTotals t = row_totals(p, row, scratch);
  if (threadIdx.x != 0) return;
  const float lse = lse_of(t);
  const bool inside = label >= 0 && label < p.v, ignored = label == p.ignore_index;
  if (!inside && !ignored) *fault = static_cast<int>(Fault::label);
  loss[r] = inside && !ignored ? loss_of_row(p, t, lse, widen(row[label])) : 0.0f;
  lse_out[r] = lse;
}

enum class Labels { whole, shard };

template <class T, Labels kLabels>
__global__ void __launch_bounds__(kLossThreads, 2)
    loss_grad_kernel(const LossSpec p, const float* dloss, const T* x, int64_t ld, const int32_t* labels, const float* lse, T* dx,
                     int64_t ld_dx, int64_t offset, int* fault) {
  const int64_t r = blockIdx.x, label = labels[r];
  if (label == p.ignore_index) return clear_row(dx + r * ld_dx, p.v);
  if (kLabels == Labels::whole && threadIdx.x == 0 && (label < 0 || label >= p.v)) *fault = static_cast<int>(Fault::label);
  loss_grad_row(p, x + r * ld, label - offset, lse[r], dloss[r], dx + r * ld_dx);
}

template <Labels kLabels>
Prepared gradient(const Node& node, const Device& device, const LossSpec& spec, int64_t offset) {
  const int split = node.group_rank('a');
  const Matrix x = node.matrix(node.in(1), split), dx = node.matrix(node.out(0), split);
  for (size_t i : {0, 2, 3}) node.need_contiguous(node.in(i));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, fault = device.fault](const Launch& l) {
      loss_grad_kernel<T, kLabels><<<static_cast<unsigned>(x.rows), kLossThreads, 0, l.stream()>>>(
          spec, l.in<float>(0), l.in<T>(1), x.ld, l.in<int32_t>(2), l.in<float>(3), l.out<T>(0), dx.ld, offset, fault);
    });
  });
}

template <class T>
__global__ void row_max_kernel(const T* x, int64_t v, int64_t ld, float* out) {
  __shared__ float scratch[32];
  float top[1] = {-INFINITY};
  for_row(x + blockIdx.x * ld, v, [&](auto& values, int64_t) {
    for (float value : values) top[0] = fmaxf(top[0], value);
  });
  block_reduce<1>(top, scratch, Max{});
  if (threadIdx.x == 0) out[blockIdx.x] = top[0];
}

template <class T>
__global__ void parts_kernel(const T* x, int64_t v, int64_t ld, const int32_t* labels, const float* max, float* sumexp, float* target,
                             int64_t offset) {
  __shared__ float scratch[32];
  const int64_t r = blockIdx.x, label = labels[r] - offset;
  const T* row = x + r * ld;
  const float top = max[r];
  float sum[1] = {0};
  for_row(row, v, [&](auto& values, int64_t) {
    for (float value : values) sum[0] += exp2f((value - top) * kLog2e);
  });
  block_reduce<1>(sum, scratch, Sum{});
  if (threadIdx.x != 0) return;
  sumexp[r] = sum[0];
  target[r] = label >= 0 && label < v ? widen(row[label]) : 0.0f;
}

__global__ void join_kernel(const float* sumexp, const float* target, const float* max, const int32_t* labels, int64_t n,
                            int64_t ignore_index, float z, float* loss, float* lse_out) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= n) return;
  const float lse = max[r] + logf(sumexp[r]);
  loss[r] = labels[r] == ignore_index ? 0.0f : lse - target[r] + z * lse * lse;
  lse_out[r] = lse;
}

}  // namespace

NEMO_CUDA_KERNEL(cross_entropy) {
  const Matrix x = node.matrix(node.in(0), node.group_rank('a'));
  for (const Tensor* t : {&node.in(1), &node.out(0), &node.out(1)}) node.need_contiguous(*t);
  const LossSpec spec = loss_spec(node);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, fault = device.fault](const Launch& l) {
      loss_kernel<T><<<static_cast<unsigned>(x.rows), kRowThreads, 0, l.stream()>>>(spec, l.in<T>(0), x.ld, l.in<int32_t>(1),
                                                                                    l.out<float>(0), l.out<float>(1), fault);
    });
  });
}

NEMO_CUDA_KERNEL(cross_entropy_grad) { return gradient<Labels::whole>(node, device, loss_spec(node), 0); }

NEMO_CUDA_KERNEL(cross_entropy_shard_grad) {
  const LossSpec spec{node.size('v'), node.integer("ignore_index"), 0, static_cast<float>(node.number("z_loss"))};
  return gradient<Labels::shard>(node, device, spec, node.integer("shard_offset"));
}

NEMO_CUDA_KERNEL(row_max) {
  const Matrix x = node.matrix(node.in(0), node.group_rank('a'));
  node.need_contiguous(node.out(0));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      row_max_kernel<T><<<static_cast<unsigned>(x.rows), kLossThreads, 0, l.stream()>>>(l.in<T>(0), x.cols, x.ld, l.out<float>(0));
    });
  });
}

NEMO_CUDA_KERNEL(cross_entropy_parts) {
  const Matrix x = node.matrix(node.in(0), node.group_rank('a'));
  for (const Tensor* t : {&node.in(1), &node.in(2), &node.out(0), &node.out(1)}) node.need_contiguous(*t);
  const int64_t offset = node.integer("shard_offset");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      parts_kernel<T><<<static_cast<unsigned>(x.rows), kLossThreads, 0, l.stream()>>>(
          l.in<T>(0), x.cols, x.ld, l.in<int32_t>(1), l.in<float>(2), l.out<float>(0), l.out<float>(1), offset);
    });
  });
}

NEMO_CUDA_KERNEL(cross_entropy_join) {
  for (size_t i = 0; i < 4; ++i) node.need_contiguous(node.in(i));
  const int64_t n = node.size('a'), ignore_index = node.integer("ignore_index");
  const float z = static_cast<float>(node.number("z_loss"));
  return make_kernel([=](const Launch& l) {
    join_kernel<<<grid_of(n, 256), 256, 0, l.stream()>>>(l.in<float>(0), l.in<float>(1), l.in<float>(2), l.in<int32_t>(3), n, ignore_index,
                                                         z, l.out<float>(0), l.out<float>(1));
  });
}

}  // namespace nemo::cuda

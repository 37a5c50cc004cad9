// relative_bias and its gradient. The buckets of T5 are those of the CPU backend: where they change is computed on the host, once. The
// gradient sums each diagonal of dbias, then the diagonals of a bucket, both in order. Bound by memory.
#include "kernels/distance_buckets.cuh"

namespace nemo::cuda {

namespace {

template <class T>
__global__ void bias_kernel(const Buckets bucket, int64_t h, int64_t s, int64_t t, const T* table, float* bias) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, i = blockIdx.y;
  if (j >= t) return;
  const T* row = table + bucket(static_cast<int>(j - i - (t - s))) * h;
  for (int64_t head = 0; head < h; ++head) bias[(head * s + i) * t + j] = widen(row[head]);
}

// diagonals[head][s - 1 + j - i] = sum over i of dbias[head][i][j].
__global__ void diagonal_kernel(int64_t s, int64_t t, const float* dbias, float* diagonals) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, head = blockIdx.y, apart = at - (s - 1);
  if (at >= s + t - 1) return;
  const int64_t begin = max(int64_t{0}, -apart), end = min(s, t - apart);
  float sum = 0;
#pragma unroll 4
  for (int64_t i = begin; i < end; ++i) sum += dbias[(head * s + i) * t + i + apart];
  diagonals[head * (s + t - 1) + at] = sum;
}

// A warp per head and bucket.
template <class G>
__global__ void bucket_kernel(const Buckets bucket, int64_t h, int64_t s, int64_t t, const float* diagonals, G* dtable, bool add) {
  const int64_t head = blockIdx.x, n = s + t - 1;
  const int wanted = static_cast<int>(blockIdx.y);
  float sum = 0;
  for (int64_t at = threadIdx.x; at < n; at += 32)
    if (bucket(static_cast<int>(at - (s - 1) - (t - s))) == wanted) sum += diagonals[head * n + at];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x != 0) return;
  G* to = dtable + wanted * h + head;
  *to = narrow<G>(add ? widen(*to) + sum : sum);
}

}  // namespace

NEMO_CUDA_KERNEL(relative_bias) {
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const int64_t h = node.size('h'), s = node.size('s'), t = node.size('t');
  if (s > 65535) node.refuse("more than 65535 queries have no kernel");
  const Buckets bucket = buckets_of(node);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (h * s * t == 0) return;
      bias_kernel<T><<<dim3(grid_of(t, 128), static_cast<unsigned>(s)), 128, 0, l.stream()>>>(bucket, h, s, t, l.in<T>(0), l.out<float>(0));
    });
  });
}

NEMO_CUDA_KERNEL(relative_bias_grad) {
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const int64_t h = node.size('h'), s = node.size('s'), t = node.size('t');
  if (h > 65535 || s < 1 || t < 1) node.refuse("no queries or keys, or more than 65535 heads");
  const Buckets bucket = buckets_of(node);
  const nemo_dtype grad = node.out(0).dtype;
  if (!is_floating(grad)) node.refuse("gradients are f32, bf16 or f16");
  return with_type(grad, [&](auto tag) {
    using G = decltype(tag);
    return make_kernel(
        [=](const Launch& l) {
          const dim3 diagonals(grid_of(s + t - 1, 64), static_cast<unsigned>(h));
          diagonal_kernel<<<diagonals, 64, 0, l.stream()>>>(s, t, l.in<float>(0), l.workspace<float>());
          const dim3 entries(static_cast<unsigned>(h), static_cast<unsigned>(bucket.buckets));
          bucket_kernel<G>
              <<<entries, 32, 0, l.stream()>>>(bucket, h, s, t, l.workspace<float>(), l.out<G>(0), l.write() == Write::accumulate);
        },
        align_up(static_cast<uint64_t>(h * (s + t - 1)) * sizeof(float)));
  });
}

}  // namespace nemo::cuda

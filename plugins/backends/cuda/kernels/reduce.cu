// softmax, sum, broadcast and sum_squares. Sums are f64 over a fixed number of blocks whose partials are added in order: the same bits on
// every device. Bound by memory.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kSumBlocks = 1024, kSumThreads = 256;

struct Plain {
  __device__ float operator()(float x) const { return x; }
};
struct Square {
  __device__ float operator()(float x) const { return x * x; }
};

template <class T, class F>
__global__ void partial_sum_kernel(const T* x, int64_t n, int64_t whole, double* partial, F f) {
  __shared__ double scratch[32];
  constexpr int N = kLanes<T>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x,
                stride = static_cast<int64_t>(kSumBlocks) * kSumThreads;
  double sum[1] = {0};
#pragma unroll 4
  for (int64_t i = first * N; i < whole; i += stride * N) {
    float v[N];
    load<N>(x + i, v);
    float part = 0;
#pragma unroll
    for (int e = 0; e < N; ++e) part += f(v[e]);
    sum[0] += static_cast<double>(part);
  }
  for (int64_t i = whole + first; i < n; i += stride) sum[0] += static_cast<double>(f(widen(x[i])));
  block_reduce<1>(sum, scratch, Sum{});
  if (threadIdx.x == 0) partial[blockIdx.x] = sum[0];
}

template <class R>
__global__ void total_kernel(const double* partial, R* out, bool add) {
  __shared__ double scratch[32];
  double sum[1] = {partial[threadIdx.x]};
  block_reduce<1>(sum, scratch, Sum{});
  if (threadIdx.x == 0) *out = static_cast<R>(add ? static_cast<double>(*out) + sum[0] : sum[0]);
}

template <class R, class F>
Prepared sum_of(const Node& node, F f) {
  if (!is_floating(node.in(0).dtype)) node.refuse("sums f32, bf16 and f16 only");
  node.need_contiguous(node.in(0));
  const int64_t n = node.in(0).size();
  const bool can_add = node.has_attribute("accumulate");
  return with_type(node.in(0).dtype, [&](auto tag) {
    using T = decltype(tag);
    return make_kernel(
        [=](const Launch& l) {
          double* partial = l.workspace<double>();
          const int64_t whole = aligned16(l.in(0)) ? n / kLanes<T> * kLanes<T> : 0;
          partial_sum_kernel<T><<<kSumBlocks, kSumThreads, 0, l.stream()>>>(l.in<T>(0), n, whole, partial, f);
          total_kernel<R><<<1, kSumBlocks, 0, l.stream()>>>(partial, l.out<R>(0), can_add && l.write() == Write::accumulate);
        },
        kSumBlocks * sizeof(double));
  });
}

// A block per row.
template <class T>
__global__ void softmax_kernel(const T* x, int64_t d, int64_t ld, T* y, int64_t ld_y) {
  __shared__ float scratch[64];
  const T* row = x + blockIdx.x * ld;
  T* to = y + blockIdx.x * ld_y;
  float top[1] = {-INFINITY}, sum[1] = {0};
  for (int64_t i = threadIdx.x; i < d; i += blockDim.x) top[0] = fmaxf(top[0], widen(row[i]));
  block_reduce<1>(top, scratch, Max{});
  for (int64_t i = threadIdx.x; i < d; i += blockDim.x) sum[0] += __expf(widen(row[i]) - top[0]);
  block_reduce<1>(sum, scratch + 32, Sum{});
  const float factor = 1.0f / sum[0];
  for (int64_t i = threadIdx.x; i < d; i += blockDim.x) to[i] = narrow<T>(__expf(widen(row[i]) - top[0]) * factor);
}

template <class T>
__global__ void softmax_grad_kernel(const T* dy, int64_t ld_dy, const T* y, int64_t ld_y, int64_t d, T* dx, int64_t ld_dx) {
  __shared__ float scratch[32];
  dy += blockIdx.x * ld_dy;
  y += blockIdx.x * ld_y;
  dx += blockIdx.x * ld_dx;
  float dot[1] = {0};
  for (int64_t i = threadIdx.x; i < d; i += blockDim.x) dot[0] += widen(dy[i]) * widen(y[i]);
  block_reduce<1>(dot, scratch, Sum{});
  for (int64_t i = threadIdx.x; i < d; i += blockDim.x) dx[i] = narrow<T>((widen(dy[i]) - dot[0]) * widen(y[i]));
}

template <class T>
__global__ void add_scalar_kernel(const T* x, double* total, bool add) {
  *total = static_cast<double>(*x) + (add ? *total : 0);
}

__global__ void clip_kernel(const double* totals, const double* wish, double max_norm, double* hyper, double* report) {
  constexpr int kScale = 6, kSkip = 7;
  const double tokens = fmax(totals[2], 1.0), norm = sqrt(totals[0]) * wish[kScale] / tokens;
  const double clip = max_norm > 0 ? fmin(1.0, max_norm / (norm + 1e-6)) : 1.0;
  for (int i = 0; i < kScale; ++i) hyper[i] = wish[i];
  hyper[kScale] = wish[kScale] * clip / tokens;
  hyper[kSkip] = isfinite(norm) ? 0 : 1;
  report[0] = norm, report[1] = clip, report[2] = hyper[kSkip];
}

__global__ void fill_kernel(const float* x, float* y, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = *x;
}

}  // namespace

NEMO_CUDA_KERNEL(softmax) {
  const int split = node.group_rank('a');
  const Matrix x = node.matrix(node.in(0), split), y = node.matrix(node.out(0), split);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      softmax_kernel<T><<<static_cast<unsigned>(x.rows), 256, 0, l.stream()>>>(l.in<T>(0), x.cols, x.ld, l.out<T>(0), y.ld);
    });
  });
}

NEMO_CUDA_KERNEL(softmax_grad) {
  const int split = node.group_rank('a');
  const Matrix dy = node.matrix(node.in(0), split), y = node.matrix(node.in(1), split), dx = node.matrix(node.out(0), split);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      softmax_grad_kernel<T>
          <<<static_cast<unsigned>(dy.rows), 256, 0, l.stream()>>>(l.in<T>(0), dy.ld, l.in<T>(1), y.ld, dy.cols, l.out<T>(0), dx.ld);
    });
  });
}

NEMO_CUDA_KERNEL(sum) { return sum_of<float>(node, Plain{}); }

NEMO_CUDA_KERNEL(broadcast) {
  node.need_contiguous(node.out(0));
  const int64_t n = node.out(0).size();
  return make_kernel([=](const Launch& l) { fill_kernel<<<grid_of(n, 256), 256, 0, l.stream()>>>(l.in<float>(0), l.out<float>(0), n); });
}

NEMO_CUDA_KERNEL(sum_squares) { return sum_of<double>(node, Square{}); }

NEMO_CUDA_KERNEL(add_scalar) {
  const bool f64 = node.in(0).dtype == NEMO_DTYPE_F64;
  if (!f64 && node.in(0).dtype != NEMO_DTYPE_F32) node.refuse("adds f32 and f64 only");
  return make_kernel([f64](const Launch& l) {
    const bool add = l.write() == Write::accumulate;
    if (f64)
      add_scalar_kernel<<<1, 1, 0, l.stream()>>>(l.in<double>(0), l.out<double>(0), add);
    else
      add_scalar_kernel<<<1, 1, 0, l.stream()>>>(l.in<float>(0), l.out<double>(0), add);
  });
}

NEMO_CUDA_KERNEL(clip_coefficient) {
  if (node.in(0).size() < 3 || node.in(1).size() != 8) node.refuse("totals must be f64[3] or more, and wish f64[8]");
  const double max_norm = node.number("max_norm");
  return make_kernel([max_norm](const Launch& l) {
    clip_kernel<<<1, 1, 0, l.stream()>>>(l.in<double>(0), l.in<double>(1), max_norm, l.out<double>(0), l.out<double>(1));
  });
}

}  // namespace nemo::cuda

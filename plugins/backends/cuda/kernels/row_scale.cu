// row_scale, clamped_glu and gradients. Bound by memory.
#include "kernels/activations.cuh"
#include "kernels/map.cuh"

namespace nemo::cuda {

namespace {

template <class T, int N>
__global__ void row_scale_kernel(const T* x, int64_t ld_x, const T* s, T* y, int64_t ld_y, int64_t rows, int64_t cols) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, vectors = cols / N;
  if (i >= rows * vectors) return;
  const int64_t row = i / vectors, at = (i - row * vectors) * N;
  const float factor = widen(s[row]);
  float v[N];
  load<N>(x + row * ld_x + at, v);
#pragma unroll
  for (int e = 0; e < N; ++e) v[e] *= factor;
  store<N>(y + row * ld_y + at, v);
}

// A warp per row: dx = s dy, ds = dy . x.
template <class T, int N>
__global__ void __launch_bounds__(128) row_scale_grad_kernel(const T* dy, int64_t ld_dy, const T* x, int64_t ld_x, const T* s, T* dx,
                                                             int64_t ld_dx, T* ds, int64_t rows, int64_t cols) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * 4 + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float factor = widen(s[row]);
  float dot = 0;
  for (int64_t at = lane * N; at < cols; at += 32 * N) {
    float u[N], v[N];
    load<N>(dy + row * ld_dy + at, u);
    load<N>(x + row * ld_x + at, v);
#pragma unroll
    for (int e = 0; e < N; ++e) dot += u[e] * v[e], u[e] *= factor;
    store<N>(dx + row * ld_dx + at, u);
  }
  for (int step = 16; step > 0; step /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, step);
  if (lane == 0) ds[row] = narrow<T>(dot);
}

struct ClampedGlu {
  float alpha, limit;
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const {
    const float g = fminf(in[0], limit), u = fminf(fmaxf(in[1], -limit), limit);
    out[0] = (u + 1.0f) * g * sigmoid(alpha * g);
  }
};

struct ClampedGluGrad {
  float alpha, limit;
  __device__ void operator()(const float (&in)[3], float (&out)[2]) const {
    const float d = in[0], g = fminf(in[1], limit), u = fminf(fmaxf(in[2], -limit), limit), s = sigmoid(alpha * g);
    out[0] = in[1] > limit ? 0.0f : d * (u + 1.0f) * s * (1.0f + alpha * g * (1.0f - s));
    out[1] = in[2] > limit || in[2] < -limit ? 0.0f : d * g * s;
  }
};

}  // namespace

NEMO_CUDA_KERNEL(row_scale) {
  const int split = node.group_rank('a');
  const Matrix x = node.matrix(node.in(0), split), y = node.matrix(node.out(0), split);
  node.need_contiguous(node.in(1));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (x.rows * x.cols == 0) return;
      constexpr int N = kLanes<T>;
      if (x.cols % N == 0 && x.ld % N == 0 && y.ld % N == 0 && aligned16(l.in(0)) && aligned16(l.out(0)))
        row_scale_kernel<T, N>
            <<<grid_of(x.rows * x.cols / N, 256), 256, 0, l.stream()>>>(l.in<T>(0), x.ld, l.in<T>(1), l.out<T>(0), y.ld, x.rows, x.cols);
      else
        row_scale_kernel<T, 1>
            <<<grid_of(x.rows * x.cols, 256), 256, 0, l.stream()>>>(l.in<T>(0), x.ld, l.in<T>(1), l.out<T>(0), y.ld, x.rows, x.cols);
    });
  });
}

NEMO_CUDA_KERNEL(row_scale_grad) {
  const int split = node.group_rank('a');
  const Matrix dy = node.matrix(node.in(0), split), x = node.matrix(node.in(1), split), dx = node.matrix(node.out(0), split);
  node.need_contiguous(node.in(2));
  node.need_contiguous(node.out(1));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (dy.rows == 0) return;
      constexpr int N = kLanes<T>;
      const bool vector = x.cols % N == 0 && x.ld % N == 0 && dy.ld % N == 0 && dx.ld % N == 0 && aligned16(l.in(0)) &&
                          aligned16(l.in(1)) && aligned16(l.out(0));
      const auto kernel = vector ? row_scale_grad_kernel<T, N> : row_scale_grad_kernel<T, 1>;
      kernel<<<grid_of(dy.rows, 4), 128, 0, l.stream()>>>(l.in<T>(0), dy.ld, l.in<T>(1), x.ld, l.in<T>(2), l.out<T>(0), dx.ld, l.out<T>(1),
                                                          dy.rows, dy.cols);
    });
  });
}

NEMO_CUDA_KERNEL(clamped_glu) {
  return map<2, 1>(node, ClampedGlu{static_cast<float>(node.number("alpha")), static_cast<float>(node.number("limit"))});
}
NEMO_CUDA_KERNEL(clamped_glu_grad) {
  return map<3, 2>(node, ClampedGluGrad{static_cast<float>(node.number("alpha")), static_cast<float>(node.number("limit"))});
}

}  // namespace nemo::cuda

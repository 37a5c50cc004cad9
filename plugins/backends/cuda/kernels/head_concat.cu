// head_concat, take_token and gradients: rows copied or gathered, one thread per element. Bound by memory.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

// Element strides of a [b s h ..] tensor whose features are contiguous.
struct Steps {
  int64_t batch = 0, position = 0, head = 0;
  explicit Steps(const Tensor& t) : batch(t.strides[0]), position(t.strides[1]), head(t.rank() > 3 ? t.strides[2] : 0) {}
  __device__ int64_t at(int64_t b, int64_t s, int64_t h = 0) const { return b * batch + s * position + h * head; }
};

struct Concat {
  int64_t s, h, m, d, r;
  Steps x, shared, y;
};

template <class T>
__global__ void concat_kernel(const Concat c, int64_t values, const T* x, const T* shared, T* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, f = c.d + c.r;
  if (i >= values) return;
  const int64_t at = i % f, head = i / f % c.h, token = i / f / c.h, b = token / c.s, s = token % c.s;
  y[c.y.at(b, s, head) + at] = at < c.d ? x[c.x.at(b, s, head) + at] : shared[c.shared.at(b, s, head * c.m / c.h) + at - c.d];
}

// dx and dshared of a token: h d elements copied, m r sums over the heads of a group in order.
template <class T>
__global__ void concat_grad_kernel(const Concat c, int64_t values, const T* dy, T* dx, T* dshared) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, per_token = c.h * c.d + c.m * c.r;
  if (i >= values) return;
  const int64_t at = i % per_token, token = i / per_token, b = token / c.s, s = token % c.s;
  if (at < c.h * c.d) {
    const int64_t head = at / c.d, e = at % c.d;
    dx[c.x.at(b, s, head) + e] = dy[c.y.at(b, s, head) + e];
    return;
  }
  const int64_t group = (at - c.h * c.d) / c.r, e = (at - c.h * c.d) % c.r, heads = c.h / c.m;
  float sum = 0;
  for (int64_t head = group * heads; head < (group + 1) * heads; ++head) sum += widen(dy[c.y.at(b, s, head) + c.d + e]);
  dshared[c.shared.at(b, s, group) + e] = narrow<T>(sum);
}

Concat concat_of(const Node& node, const Tensor& x, const Tensor& shared, const Tensor& y) {
  const Concat c{node.size('s'), node.size('h'), node.size('m'), node.size('d'), node.size('r'), Steps(x), Steps(shared), Steps(y)};
  if (node.size('f') != c.d + c.r || c.m == 0 || c.h % c.m != 0) node.refuse("f must be d + r, and h a multiple of m");
  return c;
}

struct Taken {
  int64_t s, d, index;
  Steps x;
  int64_t ld_y;
};

template <class T>
__global__ void take_kernel(const Taken k, int64_t values, const T* x, T* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= values) return;
  const bool inside = k.index >= 0 && k.index < k.s;
  y[i / k.d * k.ld_y + i % k.d] = inside ? x[k.x.at(i / k.d, k.index) + i % k.d] : narrow<T>(0.0f);
}

template <class T>
__global__ void take_grad_kernel(const Taken k, int64_t values, const T* dy, T* dx) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= values) return;
  const int64_t b = i / k.d / k.s, s = i / k.d % k.s, at = i % k.d;
  dx[k.x.at(b, s) + at] = s == k.index ? dy[b * k.ld_y + at] : narrow<T>(0.0f);
}

Taken taken_of(const Node& node, const Tensor& whole, const Tensor& part) {
  const Taken k{node.size('s'), node.size('d'), node.integer("index"), Steps(whole), part.strides[0]};
  if ((k.index < 0 || k.index >= k.s) && node.integer("part") == 0) node.refuse("index is outside the sequence");
  return k;
}

}  // namespace

NEMO_CUDA_KERNEL(head_concat) {
  const Concat c = concat_of(node, node.in(0), node.in(1), node.out(0));
  const int64_t values = node.size('b') * c.s * c.h * (c.d + c.r);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (values > 0) concat_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(c, values, l.in<T>(0), l.in<T>(1), l.out<T>(0));
    });
  });
}

NEMO_CUDA_KERNEL(head_concat_grad) {
  const Concat c = concat_of(node, node.out(0), node.out(1), node.in(0));
  const int64_t values = node.size('b') * c.s * (c.h * c.d + c.m * c.r);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (values > 0) concat_grad_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(c, values, l.in<T>(0), l.out<T>(0), l.out<T>(1));
    });
  });
}

NEMO_CUDA_KERNEL(take_token) {
  const Taken k = taken_of(node, node.in(0), node.out(0));
  const int64_t values = node.size('b') * k.d;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (values > 0) take_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(k, values, l.in<T>(0), l.out<T>(0));
    });
  });
}

NEMO_CUDA_KERNEL(take_token_grad) {
  const Taken k = taken_of(node, node.out(0), node.in(0));
  const int64_t values = node.size('b') * k.s * k.d;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (values > 0) take_grad_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(k, values, l.in<T>(0), l.out<T>(0));
    });
  });
}

}  // namespace nemo::cuda

// AdamW (Loshchilov & Hutter 2019) and SGD over flat ranges of any mix of f32, bf16 and f16, as torch.optim.AdamW and torch.optim.SGD;
// arithmetic in f32. One pass; with f32 gradient, master weights and moments and bf16 parameters 30 bytes per element; bound by memory.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kLr = 0, kBeta1 = 1, kBeta2 = 2, kEps = 3, kCorrection1 = 4, kCorrection2 = 5, kScale = 6, kSkip = 7;
constexpr int kThreads = 256;
constexpr int kWidth = 4;  // elements per thread and turn

// Dtypes of grad and outputs (0: absent).
struct Types {
  nemo_dtype grad, param, master, out2, out3;
};

Types checked(const Node& node) {
  Types t{node.in(0).dtype, node.out(0).dtype, node.out(1).dtype, node.out(2).dtype, 0};
  if (node.in(1).size() != 8) node.refuse("hyper must be f64[8]");
  if (!node.has_attribute("momentum")) t.out3 = node.out(3).dtype;
  for (nemo_dtype d : {t.grad, t.param})
    if (!is_floating(d)) node.refuse("gradient and parameter must be f32, bf16 or f16");
  for (nemo_dtype d : {t.master, t.out2, t.out3})
    if (d != 0 && !is_floating(d)) node.refuse("master weights and moments must be f32, bf16 or f16");
  return t;
}

struct Ranges {
  const void* grad;
  void *param, *master, *a, *b;
  Types types;
  int64_t n;
};

// A range whose dtype is known when the kernel is compiled; Any: when it runs.
struct Any {};
template <class T, int N>
__device__ __forceinline__ void get(const void* p, nemo_dtype dtype, int64_t i, float (&x)[N]) {
  if constexpr (!std::is_same_v<T, Any>)
    load<N>(static_cast<const T*>(p) + i, x);
  else if (dtype == NEMO_DTYPE_BF16)
    load<N>(static_cast<const bf16*>(p) + i, x);
  else if (dtype == NEMO_DTYPE_F16)
    load<N>(static_cast<const f16*>(p) + i, x);
  else
    load<N>(static_cast<const float*>(p) + i, x);
}
template <class T, int N>
__device__ __forceinline__ void put(void* p, nemo_dtype dtype, int64_t i, const float (&x)[N]) {
  if constexpr (!std::is_same_v<T, Any>)
    store<N>(static_cast<T*>(p) + i, x);
  else if (dtype == NEMO_DTYPE_BF16)
    store<N>(static_cast<bf16*>(p) + i, x);
  else if (dtype == NEMO_DTYPE_F16)
    store<N>(static_cast<f16*>(p) + i, x);
  else
    store<N>(static_cast<float*>(p) + i, x);
}

struct Adam {
  double decay;
  struct Step {
    float scale, beta1, beta2, keep, step, root2, eps;
    __device__ void operator()(float grad, float& p, float& m, float& v) const {
      const float g = grad * scale;
      m = beta1 * m + (1.0f - beta1) * g;
      v = beta2 * v + (1.0f - beta2) * g * g;
      p = p * keep - __fdividef(step * m, sqrtf(v) * root2 + eps);
    }
  };
  __device__ Step step(const double* h) const {
    return {static_cast<float>(h[kScale]),
            static_cast<float>(h[kBeta1]),
            static_cast<float>(h[kBeta2]),
            static_cast<float>(1 - h[kLr] * decay),
            static_cast<float>(h[kLr] / h[kCorrection1]),
            static_cast<float>(1 / sqrt(h[kCorrection2])),
            static_cast<float>(h[kEps])};
  }
};

struct Sgd {
  float decay, momentum;
  bool has_buffer, nesterov;
  struct Step {
    float scale, lr, decay, momentum;
    bool has_buffer, nesterov;
    __device__ void operator()(float grad, float& p, float& buffer, float&) const {
      const float g = grad * scale + decay * p;
      if (has_buffer) buffer = momentum * buffer + g;
      p -= lr * (!has_buffer ? g : nesterov ? g + momentum * buffer : buffer);
    }
  };
  __device__ Step step(const double* h) const {
    return {static_cast<float>(h[kScale]), static_cast<float>(h[kLr]), decay, momentum, has_buffer, nesterov};
  }
};

template <int N, class G, class P, class M, class S, class Step>
__device__ __forceinline__ void update_at(const Ranges& r, int64_t i, const Step& step) {
  const Types& t = r.types;
  float g[N], p[N], a[N] = {}, b[N] = {};
  get<G, N>(r.grad, t.grad, i, g);
  if (t.master != 0)
    get<M, N>(r.master, t.master, i, p);
  else
    get<P, N>(r.param, t.param, i, p);
  if (t.out2 != 0) get<S, N>(r.a, t.out2, i, a);
  if (t.out3 != 0) get<S, N>(r.b, t.out3, i, b);
#pragma unroll
  for (int e = 0; e < N; ++e) step(g[e], p[e], a[e], b[e]);
  if (t.out2 != 0) put<S, N>(r.a, t.out2, i, a);
  if (t.out3 != 0) put<S, N>(r.b, t.out3, i, b);
  put<P, N>(r.param, t.param, i, p);
  if (t.master != 0) put<M, N>(r.master, t.master, i, p);
}

template <class G, class P, class M, class S, class Rule>
__global__ void __launch_bounds__(kThreads) update_kernel(const Ranges r, const double* hyper, const Rule rule, int64_t whole) {
  __shared__ typename Rule::Step shared;
  if (hyper[kSkip] != 0) return;
  if (threadIdx.x == 0) shared = rule.step(hyper);
  __syncthreads();
  const typename Rule::Step step = shared;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = first * kWidth; i < whole; i += stride * kWidth) update_at<kWidth, G, P, M, S>(r, i, step);
  for (int64_t i = whole + first; i < r.n; i += stride) update_at<1, G, P, M, S>(r, i, step);
}

// Enough blocks to fill the device a few times over: each pays for its own step constants.
template <class G, class P, class M, class S, class Rule>
void launch_update(const Launch& l, Ranges r, const Rule& rule, int multiprocessors) {
  r.grad = l.in(0), r.param = l.out(0);
  r.master = r.types.master != 0 ? l.out(1) : nullptr;
  r.a = r.types.out2 != 0 ? l.out(2) : nullptr;
  r.b = r.types.out3 != 0 ? l.out(3) : nullptr;
  const bool aligned = aligned16(r.grad) && aligned16(r.param) && aligned16(r.master) && aligned16(r.a) && aligned16(r.b);
  const int64_t whole = aligned ? r.n / kWidth * kWidth : 0;
  const unsigned grid = static_cast<unsigned>(std::clamp<int64_t>(ceil_div(r.n, kThreads * kWidth), 1, 32 * multiprocessors));
  update_kernel<G, P, M, S><<<grid, kThreads, 0, l.stream()>>>(r, l.in<double>(1), rule, whole);
}

template <class Rule>
Prepared flat_update(const Node& node, const Device& device, const Types& t, const Rule& rule) {
  for (size_t i = 0; i < 4; ++i)
    if (i < 3 || t.out3 != 0) node.need_contiguous(node.out(i));
  node.need_contiguous(node.in(0));
  Ranges r{};
  r.types = t, r.n = node.size('n');
  const int mp = device.multiprocessors;
  // The training cases get kernels of their own; every other mix runs the general one.
  const auto is = [&](nemo_dtype grad, nemo_dtype param, nemo_dtype moment) {
    return t.grad == grad && t.param == param && t.master == NEMO_DTYPE_F32 && t.out2 == moment && (t.out3 == moment || t.out3 == 0);
  };
  if (is(NEMO_DTYPE_F32, NEMO_DTYPE_BF16, NEMO_DTYPE_F32))
    return make_kernel([=](const Launch& l) { launch_update<float, bf16, float, float>(l, r, rule, mp); });
  if (is(NEMO_DTYPE_F32, NEMO_DTYPE_F16, NEMO_DTYPE_F32))
    return make_kernel([=](const Launch& l) { launch_update<float, f16, float, float>(l, r, rule, mp); });
  if (is(NEMO_DTYPE_F32, NEMO_DTYPE_BF16, NEMO_DTYPE_BF16))
    return make_kernel([=](const Launch& l) { launch_update<float, bf16, float, bf16>(l, r, rule, mp); });
  if (is(NEMO_DTYPE_BF16, NEMO_DTYPE_BF16, NEMO_DTYPE_F32))
    return make_kernel([=](const Launch& l) { launch_update<bf16, bf16, float, float>(l, r, rule, mp); });
  if (is(NEMO_DTYPE_BF16, NEMO_DTYPE_BF16, NEMO_DTYPE_BF16))
    return make_kernel([=](const Launch& l) { launch_update<bf16, bf16, float, bf16>(l, r, rule, mp); });
  return make_kernel([=](const Launch& l) { launch_update<Any, Any, Any, Any>(l, r, rule, mp); });
}

}  // namespace

NEMO_CUDA_KERNEL(adamw) { return flat_update(node, device, checked(node), Adam{node.number("weight_decay")}); }

NEMO_CUDA_KERNEL(sgd) {
  const Types t = checked(node);
  const double momentum = node.number("momentum");
  const bool nesterov = node.integer("nesterov") != 0;
  if (momentum != 0 && t.out2 == 0) node.refuse("momentum needs the momentum buffer");
  if (nesterov && momentum == 0) node.refuse("nesterov needs momentum");
  return flat_update(node, device, t,
                     Sgd{static_cast<float>(node.number("weight_decay")), static_cast<float>(momentum), momentum != 0, nesterov});
}

}  // namespace nemo::cuda

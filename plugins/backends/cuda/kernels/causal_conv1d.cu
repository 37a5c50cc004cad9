// causal_conv1d, its form for generation and its gradient: depthwise, a few taps, a thread per token and vector of channels; neighbours'
// reads of the same tokens meet in the L1 cache. Bound by memory.
//   z[t] = bias + sum_j w[j] x[t - k + 1 + j], y = act(z)
//   dz = dy act'(z); dx[t] = sum_j w[j] dz[t + k - 1 - j]; dw[j] = sum_t dz[t] x[t - k + 1 + j]
#include <string>

#include "kernels/activations.cuh"
#include "kernels/column_sums.cuh"

namespace nemo::cuda {

namespace {

constexpr int kTaps = 16;  // widest kernel

struct Identity {
  static __device__ float value(float x) { return x; }
  static __device__ float slope(float) { return 1.0f; }
};

template <class F>
Prepared with_kind(const Node& node, F&& f) {
  const std::string_view kind = node.string("kind");
  if (kind == "none") return f(Identity{});
  if (kind != "silu") node.refuse("kind must be none or silu, not \"" + std::string(kind) + "\"");
  return f(Silu{});
}

struct Conv {
  int64_t b, s, c;
  int k;
  int64_t ldx, ldy, lddx;  // from token to token
  Conv(const Node& node, const Tensor& x, const Tensor& y)
      : b(node.size('b')),
        s(node.size('s')),
        c(node.size('c')),
        k(static_cast<int>(node.size('k'))),
        ldx(node.matrix(x, 2).ld),
        ldy(node.matrix(y, 2).ld),
        lddx(0) {
    if (node.size('k') > kTaps) node.refuse("at most " + std::to_string(kTaps) + " taps");
    if (tokens() > 0x7fffffff - 65536) node.refuse("more than 2^31 tokens have no kernel");
  }
  int64_t tokens() const { return b * s; }
};

// What a thread works at: token `row` of all, number `t` of its sequence, channels from `at` on.
struct Here {
  int64_t row, t, at;
  template <int N>
  static __device__ bool find(const Conv& p, Here& h) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, vectors = p.c / N;
    if (i >= p.b * p.s * vectors) return false;
    h.row = i / vectors, h.t = h.row % p.s, h.at = (i - h.row * vectors) * N;
    return true;
  }
};

template <class T, int N>
__device__ __forceinline__ void taps(const Conv& p, const Here& h, const T* x, const T* w, const T* bias, float (&z)[N]) {
#pragma unroll
  for (int e = 0; e < N; ++e) z[e] = bias != nullptr ? widen(bias[h.at + e]) : 0.0f;
  for (int j = max(0, p.k - 1 - static_cast<int>(min(h.t, int64_t{kTaps}))); j < p.k; ++j) {
    float v[N];
    load<N>(x + (h.row - p.k + 1 + j) * p.ldx + h.at, v);
#pragma unroll
    for (int e = 0; e < N; ++e) z[e] += widen(w[(h.at + e) * p.k + j]) * v[e];
  }
}

template <class T, int N, class A>
__global__ void conv_kernel(const Conv p, const T* x, const T* w, const T* bias, T* y) {
  Here h;
  if (!Here::find<N>(p, h)) return;
  float z[N];
  taps<T, N>(p, h, x, w, bias, z);
#pragma unroll
  for (int e = 0; e < N; ++e) z[e] = A::value(z[e]);
  store<N>(y + h.row * p.ldy + h.at, z);
}

// Behind a window [b][kept][c] of earlier inputs, which holds none where start[b] = 0.
struct Window {
  const int32_t *start, *count;
  int64_t kept;
};

template <class T>
__device__ __forceinline__ float earlier(const Conv& p, const Window& k, const T* window, int64_t b, int64_t t, int64_t c) {
  return k.start[b] > 0 ? widen(window[(b * k.kept + k.kept + t) * p.c + c]) : 0.0f;
}

template <class T, class A>
__global__ void cached_kernel(const Conv p, const Window k, const T* x, const T* w, const T* bias, const T* window, T* y) {
  Here h;
  if (!Here::find<1>(p, h)) return;
  float z = bias != nullptr ? widen(bias[h.at]) : 0.0f;
  for (int j = 0; j < p.k; ++j) {
    const int64_t t = h.t - p.k + 1 + j;
    const float v = t < 0 ? earlier(p, k, window, h.row / p.s, t, h.at) : widen(x[(h.row - p.k + 1 + j) * p.ldx + h.at]);
    z += widen(w[h.at * p.k + j]) * v;
  }
  y[h.row * p.ldy + h.at] = narrow<T>(A::value(z));
}

// Moves the window on by count[b] inputs; a thread has a channel of a sequence to itself and goes towards what is newer.
template <class T>
__global__ void window_kernel(const Conv p, const Window k, const T* x, T* window) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.b * p.c) return;
  const int64_t b = i / p.c, c = i % p.c, count = min(max(static_cast<int64_t>(k.count[b]), int64_t{0}), p.s);
  for (int64_t r = 0; r < k.kept; ++r) {
    const int64_t t = count - k.kept + r;
    const float v = t < 0 ? earlier(p, k, window, b, t, c) : widen(x[(b * p.s + t) * p.ldx + c]);
    window[(b * k.kept + r) * p.c + c] = narrow<T>(v);
  }
}

// dz [b s c] in f32.
template <class T, int N, class A>
__global__ void slope_kernel(const Conv p, const T* dy, const T* x, const T* w, const T* bias, float* dz) {
  Here h;
  if (!Here::find<N>(p, h)) return;
  float z[N], d[N];
  taps<T, N>(p, h, x, w, bias, z);
  load<N>(dy + h.row * p.ldy + h.at, d);
#pragma unroll
  for (int e = 0; e < N; ++e) dz[h.row * p.c + h.at + e] = d[e] * A::slope(z[e]);
}

template <class T, int N>
__global__ void input_kernel(const Conv p, const float* dz, const T* w, T* dx) {
  Here h;
  if (!Here::find<N>(p, h)) return;
  float sum[N] = {};
  for (int j = max(0, p.k - static_cast<int>(min(p.s - h.t, int64_t{kTaps}))); j < p.k; ++j) {
    const float* d = dz + (h.row + p.k - 1 - j) * p.c + h.at;
#pragma unroll
    for (int e = 0; e < N; ++e) sum[e] += widen(w[(h.at + e) * p.k + j]) * d[e];
  }
  store<N>(dx + h.row * p.lddx + h.at, sum);
}

// The same for runs of kRun tokens of a sequence and kRunTaps taps: a thread keeps the weights of its channels and the tokens in reach in
// registers and reads each token once.
constexpr int kRun = 16, kRunTaps = 4;

struct Run {
  int64_t row, t, at;  // first token
  int count;
  template <int N>
  static __device__ bool find(const Conv& p, Run& r) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, vectors = p.c / N, runs = (p.s + kRun - 1) / kRun;
    if (i >= p.b * runs * vectors) return false;
    const int64_t run = i / vectors;
    r.t = run % runs * kRun, r.row = run / runs * p.s + r.t, r.at = (i - run * vectors) * N;
    r.count = static_cast<int>(min(int64_t{kRun}, p.s - r.t));
    return true;
  }
};
int64_t run_threads(const Conv& p, int lanes) { return p.b * ceil_div(p.s, kRun) * (p.c / lanes); }

template <class T, int N>
__device__ __forceinline__ void load_weights(const Run& r, const T* w, float (&v)[kRunTaps][N]) {
#pragma unroll
  for (int e = 0; e < N; ++e)
#pragma unroll
    for (int j = 0; j < kRunTaps; ++j) v[j][e] = widen(w[(r.at + e) * kRunTaps + j]);
}

// emit(row, z) for every token of the run.
template <class T, int N, class F>
__device__ __forceinline__ void walk(const Conv& p, const Run& r, const T* x, const T* w, const T* bias, const F& emit) {
  float v[kRunTaps][N], b[N], reach[kRunTaps][N] = {};  // reach[j]: token t - 3 + j
  load_weights(r, w, v);
#pragma unroll
  for (int e = 0; e < N; ++e) b[e] = bias != nullptr ? widen(bias[r.at + e]) : 0.0f;
#pragma unroll
  for (int j = 0; j < kRunTaps - 1; ++j)
    if (r.t > 0) load<N>(x + (r.row - kRunTaps + 1 + j) * p.ldx + r.at, reach[j]);
  for (int i = 0; i < r.count; ++i) {
    load<N>(x + (r.row + i) * p.ldx + r.at, reach[kRunTaps - 1]);
    float z[N];
#pragma unroll
    for (int e = 0; e < N; ++e) {
      z[e] = b[e];
#pragma unroll
      for (int j = 0; j < kRunTaps; ++j) z[e] += v[j][e] * reach[j][e];
#pragma unroll
      for (int j = 0; j + 1 < kRunTaps; ++j) reach[j][e] = reach[j + 1][e];
    }
    emit(r.row + i, z);
  }
}

template <class T, int N, class A>
__global__ void __launch_bounds__(128) conv_run_kernel(const Conv p, const T* x, const T* w, const T* bias, T* y) {
  Run r;
  if (!Run::find<N>(p, r)) return;
  walk<T, N>(p, r, x, w, bias, [&](int64_t row, float(&z)[N]) {
#pragma unroll
    for (int e = 0; e < N; ++e) z[e] = A::value(z[e]);
    store<N>(y + row * p.ldy + r.at, z);
  });
}

template <class T, int N, class A>
__global__ void __launch_bounds__(128) slope_run_kernel(const Conv p, const T* dy, const T* x, const T* w, const T* bias, float* dz) {
  Run r;
  if (!Run::find<N>(p, r)) return;
  walk<T, N>(p, r, x, w, bias, [&](int64_t row, float(&z)[N]) {
    float d[N];
    load<N>(dy + row * p.ldy + r.at, d);
#pragma unroll
    for (int e = 0; e < N; ++e) d[e] *= A::slope(z[e]);
    store<N>(dz + row * p.c + r.at, d);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(128) input_run_kernel(const Conv p, const float* dz, const T* w, T* dx) {
  Run r;
  if (!Run::find<N>(p, r)) return;
  float v[kRunTaps][N], reach[kRunTaps][N] = {};  // reach[m]: token t + m
  load_weights(r, w, v);
#pragma unroll
  for (int m = 0; m < kRunTaps - 1; ++m)
    if (r.t + m < p.s) load<N>(dz + (r.row + m) * p.c + r.at, reach[m]);
  for (int i = 0; i < r.count; ++i) {
    if (r.t + i + kRunTaps - 1 < p.s) {
      load<N>(dz + (r.row + i + kRunTaps - 1) * p.c + r.at, reach[kRunTaps - 1]);
    } else {
#pragma unroll
      for (int e = 0; e < N; ++e) reach[kRunTaps - 1][e] = 0;
    }
    float sum[N] = {};
#pragma unroll
    for (int e = 0; e < N; ++e) {
#pragma unroll
      for (int m = 0; m < kRunTaps; ++m) sum[e] += v[kRunTaps - 1 - m][e] * reach[m][e];
#pragma unroll
      for (int m = 0; m + 1 < kRunTaps; ++m) reach[m][e] = reach[m + 1][e];
    }
    store<N>(dx + (r.row + i) * p.lddx + r.at, sum);
  }
}

// Sums over every parts-th band of 8 tokens: dw [parts][c k] and dbias [parts][c]. 32 channels x 8 tokens at once.
// kMost: no fewer than the taps.
template <class T, int kMost>
__global__ void __launch_bounds__(256)
    weights_kernel(const Conv p, const float* dz, const T* x, float* dw, int64_t dw_pitch, float* db, int64_t db_pitch) {
  __shared__ float sums[8][32];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  const int rows = static_cast<int>(p.b * p.s), length = static_cast<int>(p.s), step = static_cast<int>(gridDim.y) * 8;
  float sum[kMost] = {}, bias = 0;
  if (c < p.c)
#pragma unroll 4
    for (int row = static_cast<int>(blockIdx.y * 8 + threadIdx.y); row < rows; row += step) {
      const float d = dz[row * p.c + c];
      const int t = row % length;
      bias += d;
#pragma unroll
      for (int j = 0; j < kMost; ++j)
        if (j < p.k && t - p.k + 1 + j >= 0) sum[j] += d * widen(x[(row - p.k + 1 + j) * p.ldx + c]);
    }
  const auto total = [&](float own) {
    __syncthreads();
    sums[threadIdx.y][threadIdx.x] = own;
    __syncthreads();
    float all = 0;
    for (int y = 0; y < 8; ++y) all += sums[y][threadIdx.x];
    return all;
  };
  const bool writes = threadIdx.y == 0 && c < p.c;
#pragma unroll
  for (int j = 0; j < kMost; ++j)
    if (j < p.k) {
      const float all = total(sum[j]);
      if (writes) dw[blockIdx.y * dw_pitch + c * p.k + j] = all;
    }
  const float all = total(bias);
  if (writes) db[blockIdx.y * db_pitch + c] = all;
}

bool vectors_fit(const Conv& p, int lanes, std::initializer_list<const void*> pointers) {
  bool fit = p.c % lanes == 0 && p.ldx % lanes == 0 && p.ldy % lanes == 0 && p.lddx % lanes == 0;
  for (const void* q : pointers) fit = fit && aligned16(q);
  return fit;
}

template <class T, class A>
Prepared gradient(const Node& node, const Conv& p, int multiprocessors) {
  const bool biased = node.in(3).present(), wants_bias = node.out(2).present();
  const nemo_dtype dw_type = node.out(1).dtype, db_type = node.out(2).dtype;
  const int64_t parts = std::clamp<int64_t>(8 * multiprocessors / ceil_div(p.c, 32), 1, std::max<int64_t>(1, p.tokens() / 32));
  const int64_t dw_pitch = partial_pitch(p.c * p.k), db_pitch = partial_pitch(p.c);
  const uint64_t dz_bytes = align_up(static_cast<uint64_t>(p.tokens() * p.c) * sizeof(float)),
                 dw_bytes = align_up(static_cast<uint64_t>(parts * dw_pitch) * sizeof(float)),
                 db_bytes = align_up(static_cast<uint64_t>(parts * db_pitch) * sizeof(float));
  return make_kernel(
      [=](const Launch& l) {
        if (p.c == 0) return;
        const T *dy = l.in<T>(0), *x = l.in<T>(1), *w = l.in<T>(2), *bias = biased ? l.in<T>(3) : nullptr;
        float *dz = l.workspace<float>(), *dw = l.workspace<float>(dz_bytes), *db = l.workspace<float>(dz_bytes + dw_bytes);
        constexpr int N = kLanes<T>;
        const int64_t values = p.tokens() * p.c;
        const bool vector = vectors_fit(p, N, {dy, x, l.out(0)});
        if (values > 0 && vector && p.k == kRunTaps) {
          const unsigned grid = grid_of(run_threads(p, N), 128);
          slope_run_kernel<T, N, A><<<grid, 128, 0, l.stream()>>>(p, dy, x, w, bias, dz);
          input_run_kernel<T, N><<<grid, 128, 0, l.stream()>>>(p, dz, w, l.out<T>(0));
        } else if (values > 0 && vector) {
          slope_kernel<T, N, A><<<grid_of(values / N, 256), 256, 0, l.stream()>>>(p, dy, x, w, bias, dz);
          input_kernel<T, N><<<grid_of(values / N, 256), 256, 0, l.stream()>>>(p, dz, w, l.out<T>(0));
        } else if (values > 0) {
          slope_kernel<T, 1, A><<<grid_of(values, 256), 256, 0, l.stream()>>>(p, dy, x, w, bias, dz);
          input_kernel<T, 1><<<grid_of(values, 256), 256, 0, l.stream()>>>(p, dz, w, l.out<T>(0));
        }
        const auto weights = p.k <= 4 ? weights_kernel<T, 4> : weights_kernel<T, kTaps>;
        weights<<<dim3(grid_of(p.c, 32), static_cast<unsigned>(parts)), dim3(32, 8), 0, l.stream()>>>(p, dz, x, dw, dw_pitch, db, db_pitch);
        ColumnSums taps{parts, p.c * p.k, {}, 0};
        taps.add(dw, dw_type, l.out(1));
        finish_column_sums(taps, l);
        if (!wants_bias) return;
        ColumnSums biases{parts, p.c, {}, 0};
        biases.add(db, db_type, l.out(2));
        finish_column_sums(biases, l);
      },
      dz_bytes + dw_bytes + db_bytes);
}

}  // namespace

NEMO_CUDA_KERNEL(causal_conv1d) {
  const Conv p(node, node.in(0), node.out(0));
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.in(2));
  const bool biased = node.in(2).present();
  return with_kind(node, [&](auto act) {
    using A = decltype(act);
    return with_type(node.compute(), [&](auto tag) {
      using T = decltype(tag);
      return make_kernel([=](const Launch& l) {
        const int64_t values = p.tokens() * p.c;
        if (values == 0) return;
        constexpr int N = kLanes<T>;
        const T* bias = biased ? l.in<T>(2) : nullptr;
        const bool vector = vectors_fit(p, N, {l.in(0), l.out(0)});
        if (vector && p.k == kRunTaps)
          conv_run_kernel<T, N, A><<<grid_of(run_threads(p, N), 128), 128, 0, l.stream()>>>(p, l.in<T>(0), l.in<T>(1), bias, l.out<T>(0));
        else if (vector)
          conv_kernel<T, N, A><<<grid_of(values / N, 256), 256, 0, l.stream()>>>(p, l.in<T>(0), l.in<T>(1), bias, l.out<T>(0));
        else
          conv_kernel<T, 1, A><<<grid_of(values, 256), 256, 0, l.stream()>>>(p, l.in<T>(0), l.in<T>(1), bias, l.out<T>(0));
      });
    });
  });
}

NEMO_CUDA_KERNEL(causal_conv1d_cached) {
  const Conv p(node, node.in(0), node.out(0));
  const int64_t kept = node.out(1).shape[1];
  for (const size_t i : {1, 2, 3, 4}) node.need_contiguous(node.in(i));
  node.need_contiguous(node.out(1));
  if (kept < p.k - 1) node.refuse("the window must hold one input less than there are taps");
  const bool biased = node.in(2).present();
  return with_kind(node, [&](auto act) {
    using A = decltype(act);
    return with_type(node.compute(), [&](auto tag) {
      using T = decltype(tag);
      return make_kernel([=](const Launch& l) {
        if (p.b * p.c == 0) return;
        const Window k{l.in<int32_t>(3), l.in<int32_t>(4), kept};
        const T* bias = biased ? l.in<T>(2) : nullptr;
        if (p.s > 0)
          cached_kernel<T, A>
              <<<grid_of(p.tokens() * p.c, 256), 256, 0, l.stream()>>>(p, k, l.in<T>(0), l.in<T>(1), bias, l.out<T>(1), l.out<T>(0));
        window_kernel<T><<<grid_of(p.b * p.c, 128), 128, 0, l.stream()>>>(p, k, l.in<T>(0), l.out<T>(1));
      });
    });
  });
}

NEMO_CUDA_KERNEL(causal_conv1d_grad) {
  Conv p(node, node.in(1), node.in(0));
  p.lddx = node.matrix(node.out(0), 2).ld;
  for (const Tensor* t : {&node.in(2), &node.in(3), &node.out(1), &node.out(2)}) node.need_contiguous(*t);
  return with_kind(node, [&](auto act) {
    return with_type(node.compute(), [&](auto tag) { return gradient<decltype(tag), decltype(act)>(node, p, device.multiprocessors); });
  });
}

}  // namespace nemo::cuda

// gated_rms_norm and its gradient: a norm over parts of a row, of v = x silu(gate). A block takes a part of a row; the gradient's blocks
// walk over rows and keep their sums for dw in shared memory, which are added in order at the end. Statistics in f32; bound by memory.
//   g = dy w, u = v rstd: dv = rstd (g - u mean(g u)), dw += dy u, dx = dv silu(gate), dgate = dv x silu'(gate)
#include <string>

#include "kernels/activations.cuh"
#include "kernels/column_sums.cuh"

namespace nemo::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostColumns = 40960;  // of a part: its sums lie in shared memory

struct Gated {
  int64_t rows, parts, n;  // n: elements of a part
  int64_t ldx, ldg, ldy, lddx, lddg;
  float eps;
};

// v of elements [at, at + N) of a row.
template <class T, int N>
__device__ __forceinline__ void gated(const T* x, const T* gate, float (&v)[N]) {
  load<N>(x, v);
  if (gate == nullptr) return;
  float z[N];
  load<N>(gate, z);
#pragma unroll
  for (int e = 0; e < N; ++e) v[e] *= Silu::value(z[e]);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) gated_norm_kernel(const Gated a, const T* x, const T* gate, const T* w, T* y, float* rstd_out) {
  __shared__ float scratch[32];
  const int64_t row = blockIdx.x, part = blockIdx.y, first = part * a.n;
  x += row * a.ldx + first, y += row * a.ldy + first, w += first;
  if (gate != nullptr) gate += row * a.ldg + first;
  float squares[1] = {0};
  for (int64_t at = threadIdx.x * N; at < a.n; at += kThreads * N) {
    float v[N];
    gated<T, N>(x + at, gate != nullptr ? gate + at : nullptr, v);
#pragma unroll
    for (int e = 0; e < N; ++e) squares[0] += v[e] * v[e];
  }
  block_reduce<1>(squares, scratch, Sum{});
  const float rstd = 1.0f / sqrtf(squares[0] / static_cast<float>(a.n) + a.eps);
  for (int64_t at = threadIdx.x * N; at < a.n; at += kThreads * N) {
    float v[N], f[N];
    gated<T, N>(x + at, gate != nullptr ? gate + at : nullptr, v);
    load<N>(w + at, f);
#pragma unroll
    for (int e = 0; e < N; ++e) v[e] *= rstd * f[e];
    store<N>(y + at, v);
  }
  if (threadIdx.x == 0) rstd_out[row * a.parts + part] = rstd;
}

struct GatedGrad {
  const void *dy, *x, *gate, *w;
  const float* rstd;
  void *dx, *dgate;
  float* partial;  // [blocks][pitch]
  int64_t pitch;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) gated_norm_grad_kernel(const Gated a, const GatedGrad p) {
  extern __shared__ float sums[];  // [n] of dw; a thread has its columns to itself
  __shared__ float scratch[2][32];
  const int64_t part = blockIdx.y, first = part * a.n;
  const T* w = static_cast<const T*>(p.w) + first;
  for (int64_t at = threadIdx.x * N; at < a.n; at += kThreads * N)
#pragma unroll
    for (int e = 0; e < N; ++e) sums[at + e] = 0;
  int turn = 0;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x, ++turn) {
    const T *dy = static_cast<const T*>(p.dy) + row * a.ldy + first, *x = static_cast<const T*>(p.x) + row * a.ldx + first;
    const T* gate = p.gate != nullptr ? static_cast<const T*>(p.gate) + row * a.ldg + first : nullptr;
    T* dx = static_cast<T*>(p.dx) + row * a.lddx + first;
    T* dgate = p.dgate != nullptr ? static_cast<T*>(p.dgate) + row * a.lddg + first : nullptr;
    const float rstd = p.rstd[row * a.parts + part];
    float dot[1] = {0};
    for (int64_t at = threadIdx.x * N; at < a.n; at += kThreads * N) {
      float v[N], d[N], f[N];
      gated<T, N>(x + at, gate != nullptr ? gate + at : nullptr, v);
      load<N>(dy + at, d);
      load<N>(w + at, f);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        dot[0] += d[e] * f[e] * v[e];
        sums[at + e] += d[e] * v[e] * rstd;
      }
    }
    block_reduce<1>(dot, scratch[turn % 2], Sum{});
    const float pull = dot[0] * rstd * rstd / static_cast<float>(a.n);
    for (int64_t at = threadIdx.x * N; at < a.n; at += kThreads * N) {
      float v[N], d[N], f[N], z[N] = {}, from[N];
      load<N>(x + at, from);
      load<N>(dy + at, d);
      load<N>(w + at, f);
      if (gate != nullptr) load<N>(gate + at, z);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        v[e] = gate != nullptr ? from[e] * Silu::value(z[e]) : from[e];
        const float dv = rstd * (d[e] * f[e] - v[e] * pull);
        v[e] = gate != nullptr ? dv * Silu::value(z[e]) : dv;
        from[e] = dv * from[e] * Silu::slope(z[e]);
      }
      store<N>(dx + at, v);
      if (dgate != nullptr) store<N>(dgate + at, from);
    }
  }
  for (int64_t at = threadIdx.x * N; at < a.n; at += kThreads * N)
#pragma unroll
    for (int e = 0; e < N; ++e) p.partial[blockIdx.x * p.pitch + first + at + e] = sums[at + e];
}

int64_t row_step(const Node& node, const Tensor& t) { return t.present() ? node.matrix(t, node.group_rank('a')).ld : 0; }

int64_t parts_of(const Node& node) {
  const int64_t parts = node.size('g'), n = node.size('n');
  if (parts < 1 || n % parts != 0) node.refuse("g must divide the elements of n");
  if (parts > 65535) node.refuse("more than 65535 parts have no kernel");
  return parts;
}

bool vectors_fit(const Gated& a, int lanes, std::initializer_list<const void*> pointers) {
  bool fit = true;
  for (const int64_t step : {a.n, a.ldx, a.ldg, a.ldy, a.lddx, a.lddg}) fit = fit && step % lanes == 0;
  for (const void* p : pointers) fit = fit && aligned16(p);
  return fit;
}

}  // namespace

NEMO_CUDA_KERNEL(gated_rms_norm) {
  node.need_contiguous(node.in(2));
  node.need_contiguous(node.out(1));
  const bool has_gate = node.in(1).present();
  const int64_t parts = parts_of(node);
  const Gated a{node.size('a'),
                parts,
                node.size('n') / parts,
                row_step(node, node.in(0)),
                row_step(node, node.in(1)),
                row_step(node, node.out(0)),
                0,
                0,
                static_cast<float>(node.number("eps"))};
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (a.rows * a.n == 0) return;
      const T* gate = has_gate ? l.in<T>(1) : nullptr;
      const dim3 grid(static_cast<unsigned>(a.rows), static_cast<unsigned>(a.parts));
      const auto kernel =
          vectors_fit(a, kLanes<T>, {l.in(0), gate, l.in(2), l.out(0)}) ? gated_norm_kernel<T, kLanes<T>> : gated_norm_kernel<T, 1>;
      kernel<<<grid, kThreads, 0, l.stream()>>>(a, l.in<T>(0), gate, l.in<T>(2), l.out<T>(0), l.out<float>(1));
    });
  });
}

NEMO_CUDA_KERNEL(gated_rms_norm_grad) {
  for (const Tensor* t : {&node.in(3), &node.in(4), &node.out(2)}) node.need_contiguous(*t);
  const bool has_gate = node.in(2).present(), has_dgate = node.out(1).present();
  if (has_dgate && !has_gate) node.refuse("there is no gate whose gradient could be computed");
  const int64_t parts = parts_of(node), columns = node.size('n');
  const Gated a{node.size('a'),
                parts,
                columns / parts,
                row_step(node, node.in(1)),
                row_step(node, node.in(2)),
                row_step(node, node.in(0)),
                row_step(node, node.out(0)),
                row_step(node, node.out(1)),
                0};
  if (a.n > kMostColumns) node.refuse("parts of more than " + std::to_string(kMostColumns) + " elements have no kernel");
  const nemo_dtype grad = node.out(2).dtype;
  const int64_t blocks = std::clamp<int64_t>(4 * device.multiprocessors / parts, 1, std::max<int64_t>(1, a.rows));
  const int bytes = static_cast<int>(a.n * static_cast<int64_t>(sizeof(float)));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    for (const auto kernel : {gated_norm_grad_kernel<T, kLanes<T>>, gated_norm_grad_kernel<T, 1>})
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "gated_rms_norm_grad: shared memory");
    return make_kernel(
        [=](const Launch& l) {
          if (columns == 0) return;
          const GatedGrad p{l.in(0),
                            l.in(1),
                            has_gate ? l.in(2) : nullptr,
                            l.in(3),
                            l.in<float>(4),
                            l.out(0),
                            has_dgate ? l.out(1) : nullptr,
                            l.workspace<float>(),
                            partial_pitch(columns)};
          const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(parts));
          const auto kernel = vectors_fit(a, kLanes<T>, {p.dy, p.x, p.gate, p.w, p.dx, p.dgate}) ? gated_norm_grad_kernel<T, kLanes<T>>
                                                                                                 : gated_norm_grad_kernel<T, 1>;
          kernel<<<grid, kThreads, bytes, l.stream()>>>(a, p);
          ColumnSums sums{blocks, columns, {}, 0};
          sums.add(p.partial, grad, l.out(2));
          finish_column_sums(sums, l);
        },
        align_up(static_cast<uint64_t>(blocks * partial_pitch(columns)) * sizeof(float)));
  });
}

}  // namespace nemo::cuda

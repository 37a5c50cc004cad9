// selective_scan (Mamba-1), its form for generation and its gradient, by the recurrence: every channel and state decays at a rate of its
// own. A block takes 16 channels of one sequence, 16 lanes each, that share a channel's states (n <= 16 k per lane k), and walks over the
// tokens in f32. The gradient keeps the states in front of every chunk of tokens, computes those within a chunk again into shared memory,
// and walks backwards.
//   state <- e^(dt A) state + dt x bm, y = state c + skip x
#include <array>
#include <string>
#include <utility>

#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kChannels = 16, kLaneGroup = 16, kThreads = kChannels * kLaneGroup;
constexpr int64_t kMostStates = 256;

struct Shape {
  int64_t b, s, h, n;
  int64_t x, dt, bm, c, y;  // from token to token; y: of y or dy
  int64_t blocks() const { return ceil_div(h, kChannels); }
};

struct Inputs {
  const void *x, *dt, *bm, *c;
  const float *a_log, *skip, *dt_bias, *initial;  // the last three nullptr where absent
};

__device__ __forceinline__ float lanes_sum(float v) {
  for (int step = kLaneGroup / 2; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
  return v;
}

// A thread's share: channel h, states lane + 16 i. Channels behind the last one compute with zeros.
template <class T, int K>
struct Channel {
  const Shape& s;
  const Inputs& in;
  int64_t b, h;
  int lane;
  bool here;
  float a[K], skip, bias;

  __device__ Channel(const Shape& shape, const Inputs& inputs, int64_t b, int64_t block)
      : s(shape),
        in(inputs),
        b(b),
        h(block * kChannels + threadIdx.x / kLaneGroup),
        lane(static_cast<int>(threadIdx.x) % kLaneGroup),
        here(h < s.h),
        skip(here && in.skip != nullptr ? in.skip[h] : 0.0f),
        bias(here && in.dt_bias != nullptr ? in.dt_bias[h] : 0.0f) {
#pragma unroll
    for (int i = 0; i < K; ++i) a[i] = has(i) ? -expf(in.a_log[h * s.n + state(i)]) : 0.0f;
  }
  __device__ int64_t state(int i) const { return lane + kLaneGroup * i; }
  __device__ bool has(int i) const { return here && state(i) < s.n; }
  __device__ int64_t token(int64_t t) const { return b * s.s + t; }

  __device__ void start(const float* from, float (&v)[K]) const {
#pragma unroll
    for (int i = 0; i < K; ++i) v[i] = from != nullptr && has(i) ? from[(b * s.h + h) * s.n + state(i)] : 0.0f;
  }
  __device__ void finish(float* to, const float (&v)[K]) const {
#pragma unroll
    for (int i = 0; i < K; ++i)
      if (has(i)) to[(b * s.h + h) * s.n + state(i)] = v[i];
  }

  // Nothing here writes what is read, so that loads may be ahead of stores.
  static __device__ float get(const void* from, int64_t at) { return widen(__ldg(static_cast<const T*>(from) + at)); }
  struct Token {
    float x, dt, slope;
  };
  __device__ Token read(int64_t t) const {
    if (!here) return {0, 0, 0};
    const float raw = get(in.dt, token(t) * s.dt + h) + bias;
    return {get(in.x, token(t) * s.x + h), fmaxf(raw, 0.0f) + log1pf(expf(-fabsf(raw))), 1.0f / (1.0f + expf(-raw))};
  }
  __device__ float bm(int64_t t, int i) const { return state(i) < s.n ? get(in.bm, token(t) * s.bm + state(i)) : 0.0f; }
  __device__ float c(int64_t t, int i) const { return state(i) < s.n ? get(in.c, token(t) * s.c + state(i)) : 0.0f; }

  __device__ Token advance(int64_t t, float (&v)[K]) const {
    const Token now = read(t);
#pragma unroll
    for (int i = 0; i < K; ++i) v[i] = expf(now.dt * a[i]) * v[i] + now.dt * now.x * bm(t, i);
    return now;
  }
};

// start and count nullptr: all tokens behind `initial`; else the first count[b] behind `final` where start[b] > 0, and y = 0 for the
// others.
template <class T, int K>
__global__ void __launch_bounds__(kThreads)
    scan_kernel(const Shape s, const Inputs in, const int32_t* start, const int32_t* count, T* y, float* final) {
  const Channel<T, K> at(s, in, blockIdx.y, blockIdx.x);
  const int64_t last = count != nullptr ? min(max(static_cast<int64_t>(count[at.b]), int64_t{0}), s.s) : s.s;
  float v[K];
  at.start(start == nullptr ? in.initial : (start[at.b] > 0 ? final : nullptr), v);
#pragma unroll 4
  for (int64_t t = 0; t < last; ++t) {
    const auto now = at.advance(t, v);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < K; ++i) sum += v[i] * at.c(t, i);
    sum = lanes_sum(sum);
    if (at.here && at.lane == 0) y[at.token(t) * s.y + at.h] = narrow<T>(sum + at.skip * now.x);
  }
  if (at.here && at.lane == 0)
    for (int64_t t = last; t < s.s; ++t) y[at.token(t) * s.y + at.h] = narrow<T>(0.0f);
  at.finish(final, v);
}

struct GradArgs {
  Shape s;
  Inputs in;
  const void* dy;
  const float* dfinal;  // nullptr: 0
  void *dx, *ddt;
  int64_t dx_step, ddt_step;
  float* dinitial;  // nullptr: not wanted
  float* begins;    // [b blocks][chunks][K][threads]
  float *dbm, *dc;  // [blocks][b s n]: each block's sums over its channels
  float* sums;      // [b][h][n + 2]: da_log, dskip, ddt_bias
  int64_t chunk, chunks;
};

// Tokens of a chunk whose states fit in 64 KiB.
template <int K>
constexpr int kChunk = 64 / K;

template <class T, int K>
struct Backward {
  const GradArgs& a;
  const Channel<T, K>& at;
  float* states;            // [kChunk + 1][K][threads] in shared memory
  float (*rows)[kThreads];  // [2][threads]
  float da[K] = {}, dskip = 0, dbias = 0;

  // Sum over the block's channels of this thread's value for its lane, in order; valid in the first 16 threads.
  __device__ void channel_sums(float of_b, float of_c, float* to_b, float* to_c, bool there) {
    rows[0][threadIdx.x] = of_b, rows[1][threadIdx.x] = of_c;
    __syncthreads();
    if (threadIdx.x < 2 * kLaneGroup) {
      const int which = static_cast<int>(threadIdx.x) / kLaneGroup, lane = static_cast<int>(threadIdx.x) % kLaneGroup;
      float sum = 0;
      for (int channel = 0; channel < kChannels; ++channel) sum += rows[which][channel * kLaneGroup + lane];
      if (there) *(which == 0 ? to_b : to_c) = sum;
    }
    __syncthreads();
  }

  // k: token within the chunk. g: gradient of the state behind token t, turned into that of the one before it.
  __device__ void token(int64_t t, int64_t k, float (&g)[K]) {
    const Shape& s = a.s;
    const auto now = at.read(t);
    const float up = at.here ? widen(static_cast<const T*>(a.dy)[at.token(t) * s.y + at.h]) : 0.0f;
    float du = 0, step = 0;
#pragma unroll
    for (int i = 0; i < K; ++i) {
      const float from = states[(k * K + i) * kThreads + threadIdx.x], behind = states[((k + 1) * K + i) * kThreads + threadIdx.x];
      const float grad = g[i] + up * at.c(t, i), decay = expf(now.dt * at.a[i]), through = at.has(i) ? grad * from * decay : 0.0f;
      du += at.has(i) ? grad * at.bm(t, i) : 0.0f;
      step += through * at.a[i];
      da[i] += through * now.dt * at.a[i];
      g[i] = decay * grad;
      const int64_t n = threadIdx.x % kLaneGroup + kLaneGroup * i,
                    to = (static_cast<int64_t>(blockIdx.x) * s.b * s.s + at.token(t)) * s.n + n;
      channel_sums(at.has(i) ? grad * now.dt * now.x : 0.0f, at.has(i) ? up * behind : 0.0f, a.dbm + to, a.dc + to, n < s.n);
    }
    du = lanes_sum(du), step = lanes_sum(step);
    const float raw = (step + du * now.x) * now.slope;
    if (at.here && at.lane == 0) {
      static_cast<T*>(a.dx)[at.token(t) * a.dx_step + at.h] = narrow<T>(now.dt * du + at.skip * up);
      static_cast<T*>(a.ddt)[at.token(t) * a.ddt_step + at.h] = narrow<T>(raw);
    }
    dskip += up * now.x, dbias += raw;
  }
};

template <class T, int K>
__global__ void __launch_bounds__(kThreads) grad_kernel(const GradArgs a) {
  extern __shared__ float states[];
  __shared__ float rows[2][kThreads];
  const Shape& s = a.s;
  const Channel<T, K> at(s, a.in, blockIdx.y, blockIdx.x);
  float* begins = a.begins + (blockIdx.y * static_cast<int64_t>(gridDim.x) + blockIdx.x) * a.chunks * K * kThreads + threadIdx.x;
  float v[K], g[K];
  at.start(a.in.initial, v);
  for (int64_t chunk = 0; chunk < a.chunks; ++chunk) {
#pragma unroll
    for (int i = 0; i < K; ++i) begins[(chunk * K + i) * kThreads] = v[i];
    for (int64_t t = chunk * a.chunk; t < min(s.s, (chunk + 1) * a.chunk) && chunk + 1 < a.chunks; ++t) at.advance(t, v);
  }
  at.start(a.dfinal, g);
  Backward<T, K> backward{a, at, states, rows};
  for (int64_t chunk = a.chunks; chunk-- > 0;) {
    const int64_t t0 = chunk * a.chunk, t1 = min(s.s, t0 + a.chunk);
#pragma unroll
    for (int i = 0; i < K; ++i) states[i * kThreads + threadIdx.x] = v[i] = begins[(chunk * K + i) * kThreads];
    for (int64_t t = t0; t < t1; ++t) {
      at.advance(t, v);
#pragma unroll
      for (int i = 0; i < K; ++i) states[((t - t0 + 1) * K + i) * kThreads + threadIdx.x] = v[i];
    }
    for (int64_t t = t1; t-- > t0;) backward.token(t, t - t0, g);
  }
  if (a.dinitial != nullptr) at.finish(a.dinitial, g);
  float* sums = a.sums + (at.b * s.h + at.h) * (s.n + 2);
#pragma unroll
  for (int i = 0; i < K; ++i)
    if (at.has(i)) sums[at.state(i)] = backward.da[i];
  if (at.here && at.lane == 0) sums[s.n] = backward.dskip, sums[s.n + 1] = backward.dbias;
}

// [b s n] = the sum over blocks of [blocks][b s n].
template <class T>
__global__ void join_kernel(int64_t values, int64_t n, int64_t blocks, const float* parts, T* out, int64_t ld) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= values) return;
  float sum = 0;
#pragma unroll 8
  for (int64_t k = 0; k < blocks; ++k) sum += parts[k * values + i];
  out[i / n * ld + i % n] = narrow<T>(sum);
}

struct Output {
  void* to;
  nemo_dtype type;  // 0: not wanted
};

// da_log [h n], dskip [h] and ddt_bias [h] from the sums of every sequence.
__global__ void channel_kernel(int64_t b, int64_t h, int64_t n, const float* sums, Output da, Output dskip, Output dbias, bool add) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, per_channel = n + 2;
  if (i >= h * per_channel) return;
  const int64_t channel = i / per_channel, at = i % per_channel;
  const Output& o = at < n ? da : (at == n ? dskip : dbias);
  const int64_t to = at < n ? channel * n + at : channel;
  float sum = 0;
  for (int64_t k = 0; k < b; ++k) sum += sums[k * h * per_channel + i];
  const auto put = [&](auto* p) {
    using G = std::remove_pointer_t<decltype(p)>;
    p[to] = narrow<G>(add ? widen(p[to]) + sum : sum);
  };
  if (o.type == NEMO_DTYPE_F32)
    put(static_cast<float*>(o.to));
  else if (o.type == NEMO_DTYPE_BF16)
    put(static_cast<bf16*>(o.to));
  else if (o.type == NEMO_DTYPE_F16)
    put(static_cast<f16*>(o.to));
}

// f.template operator()<T, K>() with the type and the states per lane rounded up to what is compiled.
template <class F>
Prepared with_states(const Node& node, F&& f) {
  return with_type(node.compute(), [&](auto tag) -> Prepared {
    using T = decltype(tag);
    const int64_t n = node.size('n');
    if (n <= 16) return f.template operator()<T, 1>();
    if (n <= 64) return f.template operator()<T, 4>();
    return f.template operator()<T, 16>();
  });
}

// first: place of x among the inputs; y: of y or dy.
Shape shape_of(const Node& node, size_t first, const Tensor& y) {
  const auto step = [&](const Tensor& t) { return node.matrix(t, 2).ld; };
  const Shape s{node.size('b'),           node.size('s'),           node.size('h'),           node.size('n'), step(node.in(first)),
                step(node.in(first + 1)), step(node.in(first + 3)), step(node.in(first + 4)), step(y)};
  for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.in(first + i));
  if (s.n > kMostStates) node.refuse("more than " + std::to_string(kMostStates) + " states per channel have no kernel");
  if (s.b > 65535) node.refuse("more than 65535 sequences have no kernel");
  return s;
}

struct Present {
  int first;
  bool skip, dt_bias, initial;
  Present(const Node& node, int first)
      : first(first),
        skip(node.in(static_cast<size_t>(first) + 5).present()),
        dt_bias(node.in(static_cast<size_t>(first) + 6).present()),
        initial(node.in(static_cast<size_t>(first) + 7).present()) {}
  Inputs of(const Launch& l) const {
    return {l.in(first),
            l.in(first + 1),
            l.in(first + 3),
            l.in(first + 4),
            l.in<float>(first + 2),
            skip ? l.in<float>(first + 5) : nullptr,
            dt_bias ? l.in<float>(first + 6) : nullptr,
            initial ? l.in<float>(first + 7) : nullptr};
  }
};

}  // namespace

NEMO_CUDA_KERNEL(selective_scan) {
  const Shape s = shape_of(node, 0, node.out(0));
  const Present present(node, 0);
  node.need_contiguous(node.out(1));
  return with_states(node, [&]<class T, int K>() {
    return make_kernel([=](const Launch& l) {
      if (s.b * s.h == 0) return;
      const dim3 grid(static_cast<unsigned>(s.blocks()), static_cast<unsigned>(s.b));
      scan_kernel<T, K><<<grid, kThreads, 0, l.stream()>>>(s, present.of(l), nullptr, nullptr, l.out<T>(0), l.out<float>(1));
    });
  });
}

NEMO_CUDA_KERNEL(selective_scan_cached) {
  const Shape s = shape_of(node, 0, node.out(0));
  const Present present(node, 0);
  node.need_contiguous(node.in(8));
  node.need_contiguous(node.out(1));
  return with_states(node, [&]<class T, int K>() {
    return make_kernel([=](const Launch& l) {
      if (s.b * s.h == 0) return;
      const dim3 grid(static_cast<unsigned>(s.blocks()), static_cast<unsigned>(s.b));
      scan_kernel<T, K>
          <<<grid, kThreads, 0, l.stream()>>>(s, present.of(l), l.in<int32_t>(7), l.in<int32_t>(8), l.out<T>(0), l.out<float>(1));
    });
  });
}

NEMO_CUDA_KERNEL(selective_scan_grad) {
  const Shape s = shape_of(node, 1, node.in(0));
  const Present present(node, 1);
  for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.out(i));
  node.need_contiguous(node.in(9));
  const int64_t dx_step = node.matrix(node.out(0), 2).ld, ddt_step = node.matrix(node.out(1), 2).ld,
                dbm_step = node.matrix(node.out(3), 2).ld, dc_step = node.matrix(node.out(4), 2).ld;
  const bool has_dfinal = node.in(9).present(), has_dinitial = node.out(7).present();
  const std::array<nemo_dtype, 3> types{node.out(2).dtype, node.out(5).dtype, node.out(6).dtype};
  return with_states(node, [&]<class T, int K>() {
    const int64_t chunk = kChunk<K>, chunks = ceil_div(s.s, chunk), values = s.b * s.s * s.n;
    const auto bytes_of = [](int64_t floats) { return align_up(static_cast<uint64_t>(floats) * sizeof(float)); };
    const uint64_t begins = bytes_of(s.b * s.blocks() * chunks * K * kThreads), shared = bytes_of(s.blocks() * values),
                   sums = bytes_of(s.b * s.h * (s.n + 2));
    constexpr int kBytes = (kChunk<K> + 1) * K * kThreads * static_cast<int>(sizeof(float));
    check(cudaFuncSetAttribute(grad_kernel<T, K>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
          "selective_scan_grad: shared memory");
    return make_kernel(
        [=](const Launch& l) {
          if (s.h == 0) return;
          const GradArgs a{s,
                           present.of(l),
                           l.in(0),
                           has_dfinal ? l.in<float>(9) : nullptr,
                           l.out(0),
                           l.out(1),
                           dx_step,
                           ddt_step,
                           has_dinitial ? l.out<float>(7) : nullptr,
                           l.workspace<float>(),
                           l.workspace<float>(begins),
                           l.workspace<float>(begins + shared),
                           l.workspace<float>(begins + 2 * shared),
                           chunk,
                           chunks};
          const dim3 grid(static_cast<unsigned>(s.blocks()), static_cast<unsigned>(s.b));
          if (s.b > 0) grad_kernel<T, K><<<grid, kThreads, kBytes, l.stream()>>>(a);
          if (values > 0) {
            join_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(values, s.n, s.blocks(), a.dbm, l.out<T>(3), dbm_step);
            join_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(values, s.n, s.blocks(), a.dc, l.out<T>(4), dc_step);
          }
          const Output da{l.out(2), types[0]}, dskip{l.out(5), types[1]}, dbias{l.out(6), types[2]};
          channel_kernel<<<grid_of(s.h * (s.n + 2), 256), 256, 0, l.stream()>>>(s.b, s.h, s.n, a.sums, da, dskip, dbias,
                                                                                l.write() == Write::accumulate);
        },
        begins + 2 * shared + sums);
  });
}

}  // namespace nemo::cuda

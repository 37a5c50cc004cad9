// ssd_scan (Mamba-2) in chunks of 64 tokens: the states that chunks leave, a walk over them, then all chunks' outputs at once. 32-bit FMA;
// per chunk and head about 64 (64 n + 64 p + 2 p n) products forward.
#include "kernels/ssd_scan.cuh"

namespace nemo::cuda {

namespace ssd {

namespace {

struct StatesArgs {
  Shape s;
  Inputs in;
  const void* left;
  Steps left_at;
  float *added, *decay;
  int64_t pitch;  // chunks of a head in `added`
};

// added[p][n] = sum_t w[t] left[t][p] right[t][n]: forward x and b with w = dt e^(total - lam), backward dy and c with w = e^lam.
template <class T, Walk walk>
__global__ void __launch_bounds__(kThreads) states_kernel(const StatesArgs a) {
  extern __shared__ float tiles[];
  __shared__ Decays d;
  float *left = tiles, *right = tiles + kTileFloats;
  const Shape& s = a.s;
  const int64_t chunk = blockIdx.x, h = blockIdx.y, b = blockIdx.z, t0 = chunk * kChunk, g = h / (s.h / s.g), rows = s.s - t0;
  d.fill<T>(s, a.in, b, h, t0);
  const T* l_from = static_cast<const T*>(a.left) + a.left_at.at(b, t0, h);
  const Steps& r_at = walk == Walk::forward ? a.in.bm_at : a.in.c_at;
  const T* r_from = static_cast<const T*>(walk == Walk::forward ? a.in.bm : a.in.c) + r_at.at(b, t0, g);
  float* to = a.added + ((b * s.h + h) * a.pitch + chunk) * s.state();
  for (int64_t p0 = 0; p0 < s.p; p0 += kChunk) {
    __syncthreads();
    load_tile(left, l_from + p0, a.left_at.position, rows, s.p - p0,
              [&](int t) { return walk == Walk::forward ? d.dt[t] * d.to_end(t) : expf(d.lam[t]); });
    for (int64_t n0 = 0; n0 < s.n; n0 += kChunk) {
      __syncthreads();
      load_tile(right, r_from + n0, r_at.position, rows, s.n - n0);
      __syncthreads();
      Sums c = {};
      multiply<Read::by_depth, Read::by_depth>(c, left, right);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (p0 + row_of(i) < s.p && n0 + col_of(j) < s.n) to[(p0 + row_of(i)) * s.n + n0 + col_of(j)] = c[i][j];
    }
  }
  if (threadIdx.x == 0) a.decay[(b * s.h + h) * s.chunks + chunk] = expf(d.total());
}

template <Walk walk>
__global__ void walk_kernel(const Shape s, float* added, const float* decay, int64_t pitch, const float* start, float* end) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, pair = blockIdx.y;
  if (i >= s.state()) return;
  float state = start != nullptr ? start[pair * s.state() + i] : 0.0f;
  for (int64_t k = 0; k < s.chunks; ++k) {
    const int64_t chunk = walk == Walk::forward ? k : s.chunks - 1 - k;
    float* at = added + (pair * pitch + chunk) * s.state() + i;
    const float own = *at;
    *at = state;
    state = decay[pair * s.chunks + chunk] * state + own;
  }
  if (end != nullptr) end[pair * s.state() + i] = state;
  if (walk == Walk::forward && pitch > s.chunks) added[(pair * pitch + s.chunks) * s.state() + i] = state;
}

struct OutputArgs {
  Shape s;
  Inputs in;
  const float* begins;  // [b h chunks][p n]
  void* y;
  Steps y_at;
};

template <class T>
__global__ void __launch_bounds__(kThreads) output_kernel(const OutputArgs a) {
  extern __shared__ float tiles[];
  __shared__ Decays d;
  float *one = tiles, *two = one + kTileFloats, *three = two + kTileFloats, *weights = three + kTileFloats;
  const Shape& s = a.s;
  const Inputs& in = a.in;
  const int64_t chunk = blockIdx.x, h = blockIdx.y, b = blockIdx.z, t0 = chunk * kChunk, g = h / (s.h / s.g), rows = s.s - t0;
  d.fill<T>(s, in, b, h, t0);
  const T *x = static_cast<const T*>(in.x) + in.x_at.at(b, t0, h), *bm = static_cast<const T*>(in.bm) + in.bm_at.at(b, t0, g),
          *cm = static_cast<const T*>(in.c) + in.c_at.at(b, t0, g);
  T* y = static_cast<T*>(a.y) + a.y_at.at(b, t0, h);
  const float* state = a.begins + ((b * s.h + h) * s.chunks + chunk) * s.state();
  const float skip = in.skip != nullptr ? in.skip[h] : 0.0f;
  for (int64_t p0 = 0; p0 < s.p; p0 += kChunk) {
    Sums cb = {}, cs = {};
    for (int64_t n0 = 0; n0 < s.n; n0 += kChunk) {
      __syncthreads();
      load_tile(one, cm + n0, in.c_at.position, rows, s.n - n0);
      if (p0 == 0) load_tile(two, bm + n0, in.bm_at.position, rows, s.n - n0);
      load_tile(three, state + p0 * s.n + n0, s.n, s.p - p0, s.n - n0);
      __syncthreads();
      if (p0 == 0) multiply<Read::by_row, Read::by_row>(cb, one, two);
      multiply<Read::by_row, Read::by_row>(cs, one, three);
    }
    __syncthreads();
    if (p0 == 0) store_decayed(weights, cb, d);
    load_tile(two, x + p0, in.x_at.position, rows, s.p - p0, [&](int t) { return d.dt[t]; });
    __syncthreads();
    Sums out = {};
    multiply<Read::by_row, Read::by_depth>(out, weights, two);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int t = row_of(i);
        const int64_t p = p0 + col_of(j);
        if (t >= rows || p >= s.p) continue;
        const float direct = skip * widen(x[t * in.x_at.position + p]);
        y[t * a.y_at.position + p] = narrow<T>(out[i][j] + expf(d.lam[t]) * cs[i][j] + direct);
      }
  }
}

template <class Kernel>
void allow(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "ssd_scan: shared memory");
}

}  // namespace

Shape shape_of(const Node& node) {
  Shape s{};
  s.b = node.size('b'), s.s = node.size('s'), s.h = node.size('h'), s.g = node.size('g'), s.p = node.size('p'), s.n = node.size('n');
  s.chunks = ceil_div(s.s, kChunk);
  s.dt_min = static_cast<float>(node.number("dt_min")), s.dt_max = static_cast<float>(node.number("dt_max"));
  if (s.g == 0 || s.h % s.g != 0) node.refuse("the number of heads must be a multiple of the number of groups");
  if (s.h > 65535 || s.b > 65535 || s.b * s.h > 65535) node.refuse("more than 65535 heads of all sequences have no kernel");
  return s;
}

Arguments::Arguments(const Node& node, int first_input)
    : x(node.in(static_cast<size_t>(first_input))),
      dt(node.in(static_cast<size_t>(first_input) + 1)),
      bm(node.in(static_cast<size_t>(first_input) + 3)),
      c(node.in(static_cast<size_t>(first_input) + 4)),
      first(first_input),
      skip(node.in(static_cast<size_t>(first_input) + 5).present()),
      dt_bias(node.in(static_cast<size_t>(first_input) + 6).present()),
      initial(node.in(static_cast<size_t>(first_input) + 7).present()) {
  for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.in(static_cast<size_t>(first_input) + i));
}

Inputs Arguments::of(const Launch& l) const {
  return {l.in(first),
          l.in(first + 1),
          l.in(first + 3),
          l.in(first + 4),
          l.in<float>(first + 2),
          skip ? l.in<float>(first + 5) : nullptr,
          dt_bias ? l.in<float>(first + 6) : nullptr,
          initial ? l.in<float>(first + 7) : nullptr,
          x,
          dt,
          bm,
          c};
}

template <class T>
void add_states(const Shape& s, const Inputs& in, Walk walk, const T* left, const Steps& left_at, float* added, float* decay, int64_t pitch,
                cudaStream_t stream) {
  const StatesArgs a{s, in, left, left_at, added, decay, pitch};
  const dim3 grid(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.h), static_cast<unsigned>(s.b));
  constexpr int kBytes = 2 * kTileFloats * static_cast<int>(sizeof(float));
  walk == Walk::forward ? states_kernel<T, Walk::forward><<<grid, kThreads, kBytes, stream>>>(a)
                        : states_kernel<T, Walk::backward><<<grid, kThreads, kBytes, stream>>>(a);
}
template void add_states(const Shape&, const Inputs&, Walk, const float*, const Steps&, float*, float*, int64_t, cudaStream_t);
template void add_states(const Shape&, const Inputs&, Walk, const bf16*, const Steps&, float*, float*, int64_t, cudaStream_t);
template void add_states(const Shape&, const Inputs&, Walk, const f16*, const Steps&, float*, float*, int64_t, cudaStream_t);

void walk_states(const Shape& s, Walk walk, float* added, const float* decay, int64_t pitch, const float* start, float* end,
                 cudaStream_t stream) {
  if (s.b * s.h * s.p * s.n == 0) return;
  const dim3 grid(grid_of(s.p * s.n, 256), static_cast<unsigned>(s.b * s.h));
  walk == Walk::forward ? walk_kernel<Walk::forward><<<grid, 256, 0, stream>>>(s, added, decay, pitch, start, end)
                        : walk_kernel<Walk::backward><<<grid, 256, 0, stream>>>(s, added, decay, pitch, start, end);
}

}  // namespace ssd

NEMO_CUDA_KERNEL(ssd_scan) {
  using namespace ssd;
  const Shape s = shape_of(node);
  const Arguments arguments(node, 0);
  const Steps y(node.out(0));
  node.need_contiguous(node.out(1));
  const uint64_t states = align_up(static_cast<uint64_t>(s.b * s.h * s.chunks * s.p * s.n) * sizeof(float));
  const uint64_t decays = align_up(static_cast<uint64_t>(s.b * s.h * s.chunks) * sizeof(float));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    constexpr int kBytes = 4 * kTileFloats * static_cast<int>(sizeof(float));
    allow(output_kernel<T>, kBytes);
    return make_kernel(
        [=](const Launch& l) {
          const Inputs in = arguments.of(l);
          float *begins = l.workspace<float>(), *decay = l.workspace<float>(states);
          const bool empty = s.b * s.h * s.chunks == 0;
          if (!empty) add_states(s, in, Walk::forward, static_cast<const T*>(in.x), in.x_at, begins, decay, s.chunks, l.stream());
          walk_states(s, Walk::forward, begins, decay, s.chunks, in.initial, l.out<float>(1), l.stream());
          if (empty || s.p == 0) return;
          const dim3 grid(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.h), static_cast<unsigned>(s.b));
          output_kernel<T><<<grid, kThreads, kBytes, l.stream()>>>({s, in, begins, l.out(0), y});
        },
        states + decays);
  });
}

}  // namespace nemo::cuda

// Rotary positions. One block per token: its angles are computed once, in f64 reduced to one turn so that long positions stay exact, and
// serve all heads. 4 bytes per element (bf16); bound by memory.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kMaxPairs = 256;

struct RopeArgs {
  double turns[kMaxPairs];           // inv_freq / 2 pi
  int64_t x[3], y[3], positions[2];  // strides: b, s, h; b, s
  int64_t seq, heads;
  int pairs, d;
  float scale, sign;
};

template <class T, int N>
__device__ __forceinline__ void turn_halves(const T* from, T* to, int at, int pairs, const float* cosine, const float* sine) {
  float a[N], b[N];
  load<N>(from + at, a);
  load<N>(from + at + pairs, b);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float c = cosine[at + i], s = sine[at + i], first = a[i];
    a[i] = first * c - b[i] * s;
    b[i] = b[i] * c + first * s;
  }
  store<N>(to + at, a);
  store<N>(to + at + pairs, b);
}

// N elements of N / 2 neighbouring pairs.
template <class T, int N>
__device__ __forceinline__ void turn_neighbours(const T* from, T* to, int at, const float* cosine, const float* sine) {
  float v[N];
  load<N>(from + at, v);
#pragma unroll
  for (int i = 0; i < N; i += 2) {
    const float c = cosine[(at + i) / 2], s = sine[(at + i) / 2], first = v[i];
    v[i] = first * c - v[i + 1] * s;
    v[i + 1] = v[i + 1] * c + first * s;
  }
  store<N>(to + at, v);
}

template <class T, int N, bool kInterleaved>
__global__ void rope_kernel(const T* x, const int32_t* positions, T* y, const __grid_constant__ RopeArgs p) {
  __shared__ float cosine[kMaxPairs], sine[kMaxPairs];
  const int64_t token = blockIdx.x, b = token / p.seq, t = token - b * p.seq;
  const double position = positions[b * p.positions[0] + t * p.positions[1]];
  for (int i = static_cast<int>(threadIdx.x); i < p.pairs; i += static_cast<int>(blockDim.x)) {
    const double turns = position * p.turns[i];
    float s, c;
    sincospif(2.0f * static_cast<float>(turns - rint(turns)), &s, &c);
    cosine[i] = c * p.scale;
    sine[i] = s * p.scale * p.sign;
  }
  __syncthreads();
  // Work items of a head: pieces of the turned part, then single elements of the rest.
  const int turned = kInterleaved ? 2 * p.pairs / (N == 1 ? 2 : N) : p.pairs / N, rest = y == x ? 0 : p.d - 2 * p.pairs;
  const int per_head = turned + rest, items = static_cast<int>(p.heads) * per_head;
  const T* from_token = x + b * p.x[0] + t * p.x[1];
  T* to_token = y + b * p.y[0] + t * p.y[1];
  for (int i = static_cast<int>(threadIdx.x); i < items; i += static_cast<int>(blockDim.x)) {
    const int head = i / per_head, at = i - head * per_head;
    const T* from = from_token + head * p.x[2];
    T* to = to_token + head * p.y[2];
    if (at >= turned) {
      to[2 * p.pairs + at - turned] = from[2 * p.pairs + at - turned];
    } else if constexpr (!kInterleaved) {
      turn_halves<T, N>(from, to, at * N, p.pairs, cosine, sine);
    } else if constexpr (N > 1) {
      turn_neighbours<T, N>(from, to, at * N, cosine, sine);
    } else {
      const float c = cosine[at], s = sine[at], first = widen(from[2 * at]), second = widen(from[2 * at + 1]);
      to[2 * at] = narrow<T>(first * c - second * s);
      to[2 * at + 1] = narrow<T>(second * c + first * s);
    }
  }
}

bool vector_heads(const RopeArgs& p, const void* x, const void* y, int lanes, bool interleaved) {
  bool fits = (interleaved ? 2 * p.pairs : p.pairs) % lanes == 0 && aligned16(x) && aligned16(y);
  for (int i = 0; i < 3; ++i) fits = fits && p.x[i] % lanes == 0 && p.y[i] % lanes == 0;
  return fits;
}

template <class T, bool kInterleaved>
void launch_rope(const Launch& l, const RopeArgs& p, int64_t tokens, bool vector) {
  const unsigned grid = static_cast<unsigned>(tokens);
  if (vector)
    rope_kernel<T, kLanes<T>, kInterleaved><<<grid, 128, 0, l.stream()>>>(l.in<T>(0), l.in<int32_t>(1), l.out<T>(0), p);
  else
    rope_kernel<T, 1, kInterleaved><<<grid, 128, 0, l.stream()>>>(l.in<T>(0), l.in<int32_t>(1), l.out<T>(0), p);
}

}  // namespace

NEMO_CUDA_KERNEL(rope) {
  const auto inv_freq = node.numbers("inv_freq");
  RopeArgs p{};
  if (inv_freq.size() > kMaxPairs) node.refuse("more than 256 rotary pairs");
  p.pairs = static_cast<int>(inv_freq.size());
  p.d = static_cast<int>(node.size('d'));
  if (2 * p.pairs > p.d) node.refuse("2 * len(inv_freq) is larger than the head dimension");
  for (size_t i = 0; i < inv_freq.size(); ++i) p.turns[i] = inv_freq[i] / 6.283185307179586476925;
  p.scale = static_cast<float>(node.number("scale"));
  p.sign = node.integer("inverse") != 0 ? -1.0f : 1.0f;
  p.seq = node.size('s'), p.heads = node.size('h');
  for (size_t i = 0; i < 3; ++i) p.x[i] = node.in(0).strides[i], p.y[i] = node.out(0).strides[i];
  for (size_t i = 0; i < 2; ++i) p.positions[i] = node.in(1).strides[i];
  const bool interleaved = node.integer("interleaved") != 0;
  const int64_t tokens = node.size('b') * p.seq;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      const bool vector = vector_heads(p, l.in(0), l.out(0), kLanes<T>, interleaved);
      if (interleaved)
        launch_rope<T, true>(l, p, tokens, vector);
      else
        launch_rope<T, false>(l, p, tokens, vector);
    });
  });
}

}  // namespace nemo::cuda

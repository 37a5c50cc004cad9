// Rotary positions. A warp turns a few tokens, alone: it fetches the first pieces of their heads, computes their angles once meanwhile, in
// f64 reduced to one turn so that long positions stay exact, and lets them serve all heads. 4 bytes per element (bf16); bound by memory.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kMaxPairs = 256;
constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kAhead = 4;         // pieces per thread under way
constexpr int kMostAngles = 256;  // of a warp, beyond one token

// Quotients of indices below `limit`, without a division where the product by a rounded reciprocal is exact.
struct Divisor {
  uint32_t d = 1, factor = 0;
  Divisor() = default;
  Divisor(int64_t by, int64_t limit) : d(static_cast<uint32_t>(by)) {
    if (by > 1 && by * limit < int64_t{1} << 32) factor = static_cast<uint32_t>((int64_t{1} << 32) / by + 1);
  }
  __device__ __forceinline__ int quotient(int i) const {
    return static_cast<int>(factor != 0 ? __umulhi(static_cast<uint32_t>(i), factor) : static_cast<uint32_t>(i) / d);
  }
};

struct RopeArgs {
  double turns[kMaxPairs];           // inv_freq / 2 pi
  int64_t x[3], y[3], positions[2];  // strides: b, s, h; b, s
  int64_t seq, heads, all;           // all: tokens of the batch
  int pairs, d, tokens;              // tokens: of a warp
  int turned, rest;                  // of a head: pieces, single elements behind them
  Divisor per_token, per_head;       // work items
  float scale, sign;
};

// N pairs of two halves from fetched pieces; cosine and sine of the first pair.
template <class T, int N>
__device__ __forceinline__ void turn_raw(const Raw<T, N>& low, const Raw<T, N>& high, T* to, int pairs, const float* cosine,
                                         const float* sine) {
  float a[N], b[N], c[N], s[N];
  widen(low, a);
  widen(high, b);
  load<N>(cosine, c);
  load<N>(sine, s);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float first = a[i];
    a[i] = first * c[i] - b[i] * s[i];
    b[i] = b[i] * c[i] + first * s[i];
  }
  store<N>(to, a);
  store<N>(to + pairs, b);
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

// Where a work item of a warp's tokens lies: a piece of the turned part of a head, or a single element of the rest.
struct Item {
  int slot, head, at;  // slot: of the warp's tokens
};

__device__ __forceinline__ Item locate(const RopeArgs& p, int i) {
  Item it;
  it.slot = p.per_token.quotient(i);
  const int within = i - it.slot * static_cast<int>(p.per_token.d);
  it.head = p.per_head.quotient(within);
  it.at = within - it.head * static_cast<int>(p.per_head.d);
  return it;
}

__device__ __forceinline__ int64_t offset(const int64_t (&strides)[3], const Item& it) {
  return it.slot * strides[1] + it.head * strides[2];
}

// One item that was not fetched.
template <class T, int N, bool kInterleaved>
__device__ __forceinline__ void turn_item(const RopeArgs& p, const Item& it, const T* from, T* to, const float* c, const float* s) {
  if (it.at >= p.turned) {
    const int64_t at = 2 * p.pairs + it.at - p.turned;
    to[at] = from[at];
  } else if constexpr (kInterleaved && N > 1) {
    turn_neighbours<T, N>(from, to, it.at * N, c, s);
  } else if constexpr (N == 1) {
    const int low = kInterleaved ? 2 * it.at : it.at, high = kInterleaved ? low + 1 : low + p.pairs;
    const float cos = c[it.at], sin = s[it.at], first = widen(from[low]), second = widen(from[high]);
    to[low] = narrow<T>(first * cos - second * sin);
    to[high] = narrow<T>(second * cos + first * sin);
  }
}

// The angles of `here` tokens of a warp.
__device__ __forceinline__ void warp_angles(const RopeArgs& p, const double* turns, const int32_t* positions, int here, float* cosine,
                                            float* sine) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int slot = 0; slot < here; ++slot) {
    const double position = static_cast<double>(positions[slot * p.positions[1]]);
    for (int k = lane; k < p.pairs; k += 32) {
      const double turn = position * turns[k];
      float s, c;
      sincospif(2.0f * static_cast<float>(turn - rint(turn)), &s, &c);
      cosine[slot * p.pairs + k] = c * p.scale;
      sine[slot * p.pairs + k] = s * p.scale * p.sign;
    }
  }
  __syncwarp();
}

template <class T, int N, bool kInterleaved>
__global__ void __launch_bounds__(kThreads, 6) rope_kernel(const T* x, const int32_t* positions, T* y, const __grid_constant__ RopeArgs p) {
  extern __shared__ double turns[];  // [pairs]; then of each warp cosines and sines, [tokens pairs] each
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  float *cosine = reinterpret_cast<float*>(turns + p.pairs) + warp * 2 * p.tokens * p.pairs, *sine = cosine + p.tokens * p.pairs;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kWarps + warp) * p.tokens;
  const int here = static_cast<int>(max(min(static_cast<int64_t>(p.tokens), p.all - first), int64_t{0}));
  const int items = here * static_cast<int>(p.per_token.d);
  const int64_t batch = first / p.seq, at_seq = first - batch * p.seq;  // the warp's tokens lie in one sequence
  const T* from_warp = x + batch * p.x[0] + at_seq * p.x[1];
  T* to_warp = y + batch * p.y[0] + at_seq * p.y[1];
  constexpr bool kPieces = !kInterleaved && N > 1;  // of two halves, fetched ahead
  Raw<T, N> low[kAhead], high[kAhead];
  const auto fetch = [&](int base) {
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = base + k * 32;
      if (i >= items) continue;
      const Item it = locate(p, i);
      if (it.at >= p.turned) continue;
      const T* from = from_warp + offset(p.x, it) + it.at * N;
      low[k] = load_raw<T, N>(from, 0), high[k] = load_raw<T, N>(from, p.pairs);
    }
  };
  if constexpr (kPieces) fetch(lane);
  for (int i = static_cast<int>(threadIdx.x); i < p.pairs; i += kThreads) turns[i] = p.turns[i];
  __syncthreads();
  warp_angles(p, turns, positions + batch * p.positions[0] + at_seq * p.positions[1], here, cosine, sine);
  for (int base = lane; base < items; base += kAhead * 32) {
    if (kPieces && base != lane) fetch(base);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = base + k * 32;
      if (i >= items) continue;
      const Item it = locate(p, i);
      T* to = to_warp + offset(p.y, it);
      const float *c = cosine + it.slot * p.pairs, *s = sine + it.slot * p.pairs;
      if (kPieces && it.at < p.turned)
        turn_raw<T, N>(low[k], high[k], to + it.at * N, p.pairs, c + it.at * N, s + it.at * N);
      else
        turn_item<T, N, kInterleaved>(p, it, from_warp + offset(p.x, it), to, c, s);
    }
  }
}

bool vector_heads(const RopeArgs& p, const void* x, const void* y, int lanes, bool interleaved) {
  bool fits = (interleaved ? 2 * p.pairs : p.pairs) % lanes == 0 && aligned16(x) && aligned16(y);
  for (int i = 0; i < 3; ++i) fits = fits && p.x[i] % lanes == 0 && p.y[i] % lanes == 0;
  return fits;
}

// As many tokens per warp as fill its threads with the pieces that are fetched ahead; a divisor of the sequence's length.
int tokens_of(const RopeArgs& p, int lanes) {
  const int64_t pieces = std::max<int64_t>(p.heads * std::max(p.pairs / lanes, 1), 1);
  const int64_t most = std::max<int64_t>(std::min<int64_t>(8, kMostAngles / std::max(p.pairs, 1)), 1);
  int tokens = static_cast<int>(std::clamp<int64_t>(kAhead * 32 / pieces, 1, most));
  while (p.seq % tokens != 0) --tokens;
  return tokens;
}

template <class T, int N, bool kInterleaved>
void launch_rope(const Launch& l, RopeArgs p) {
  const T* x = l.in<T>(0);
  T* y = l.out<T>(0);
  p.turned = kInterleaved ? 2 * p.pairs / (N == 1 ? 2 : N) : p.pairs / N;
  p.rest = y == x ? 0 : p.d - 2 * p.pairs;
  const int64_t per_head = p.turned + p.rest;
  if (per_head * p.heads * p.all == 0) return;
  p.tokens = tokens_of(p, kLanes<T>);
  const int64_t per_token = per_head * p.heads;
  p.per_head = Divisor(per_head, per_token), p.per_token = Divisor(per_token, per_token * p.tokens);
  const size_t bytes = static_cast<size_t>(p.pairs) * sizeof(double) + static_cast<size_t>(kWarps * p.tokens * p.pairs) * 2 * sizeof(float);
  rope_kernel<T, N, kInterleaved><<<grid_of(p.all, p.tokens * kWarps), kThreads, bytes, l.stream()>>>(x, l.in<int32_t>(1), y, p);
}

}  // namespace

NEMO_CUDA_KERNEL(rope) {
  const auto inv_freq = node.numbers("inv_freq");
  RopeArgs p{};
  if (inv_freq.size() > kMaxPairs) node.refuse("more than 256 rotary pairs");
  p.pairs = static_cast<int>(inv_freq.size());
  p.d = static_cast<int>(node.size('d'));
  if (node.integer("offset") != 0) node.refuse("rotary positions behind an offset have no kernel on this backend yet");
  if (2 * p.pairs > p.d) node.refuse("2 * len(inv_freq) is larger than the head dimension");
  for (size_t i = 0; i < inv_freq.size(); ++i) p.turns[i] = inv_freq[i] / 6.283185307179586476925;
  p.scale = static_cast<float>(node.number("scale"));
  p.sign = node.integer("inverse") != 0 ? -1.0f : 1.0f;
  p.seq = node.size('s'), p.heads = node.size('h');
  for (size_t i = 0; i < 3; ++i) p.x[i] = node.in(0).strides[i], p.y[i] = node.out(0).strides[i];
  for (size_t i = 0; i < 2; ++i) p.positions[i] = node.in(1).strides[i];
  const bool interleaved = node.integer("interleaved") != 0;
  p.all = node.size('b') * p.seq;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      const bool vector = vector_heads(p, l.in(0), l.out(0), kLanes<T>, interleaved);
      if (interleaved)
        vector ? launch_rope<T, kLanes<T>, true>(l, p) : launch_rope<T, 1, true>(l, p);
      else
        vector ? launch_rope<T, kLanes<T>, false>(l, p) : launch_rope<T, 1, false>(l, p);
    });
  });
}

}  // namespace nemo::cuda

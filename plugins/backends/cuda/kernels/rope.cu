// Rotary positions. A block turns a few tokens: their angles are computed once, as fractions of a turn in fixed point so that long
// positions stay exact, and serve all heads. 4 bytes per element (bf16); bound by memory.
#include <cmath>

#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kMaxPairs = 256;
constexpr int kThreads = 128, kMostThreads = 256, kAhead = 2;

struct RopeArgs {
  uint64_t turns[kMaxPairs];         // the fraction of inv_freq / 2 pi, in units of 2^-64
  int64_t x[3], y[3], positions[2];  // strides: b, s, h; b, s
  int64_t seq, heads, all;           // all: tokens of the batch
  int pairs, d, tokens;              // tokens: of a block
  int first;                         // of the turned elements of a head
  uint32_t by_pairs;                 // 2^32 / pairs, rounded up: __umulhi(i, by_pairs) is i / pairs for i < 2^16
  float scale, sign;
};

__device__ __forceinline__ void turn_of(const RopeArgs& p, int32_t position, int pair, float& cosine, float& sine) {
  // Whole turns fall off at the top; the upper half is a signed fraction of a turn.
  const uint64_t turns = static_cast<uint64_t>(static_cast<int64_t>(position)) * p.turns[pair];
  float s, c;
  sincospif(static_cast<float>(static_cast<int32_t>(turns >> 32)) * 0x1p-31f, &s, &c);
  cosine = c * p.scale;
  sine = s * p.scale * p.sign;
}

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

// The same from fetched pieces; cosine and sine of the first pair.
template <class T, int N>
__device__ __forceinline__ void turn_raw(const Raw<T, N>& low, const Raw<T, N>& high, T* to, int pairs, const float* cosine,
                                         const float* sine) {
  float a[N], b[N], c[N], s[N];
  widen(low, a);
  widen(high, b);
  load<N>(cosine, c);  // aligned to 16 bytes: pairs is a multiple of N
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

// Where work item `i` of a block's tokens lies: pieces of the turned part of a head, then single elements of the rest.
struct Item {
  int slot, head, at;  // slot: of the block's tokens
};

// A block turns `tokens` tokens; x and y begin at the first turned element. The first pieces are fetched while their angles are computed.
template <class T, int N, bool kInterleaved>
__global__ void __launch_bounds__(kThreads) rope_kernel(const T* x, const int32_t* positions, T* y, const __grid_constant__ RopeArgs p) {
  extern __shared__ float angles[];  // cosines, sines: [tokens pairs] each
  float *cosine = angles, *sine = angles + p.tokens * p.pairs;
  const int turned = kInterleaved ? 2 * p.pairs / (N == 1 ? 2 : N) : p.pairs / N, rest = y == x ? 0 : p.d - 2 * p.pairs;
  const int per_head = turned + rest, per_token = static_cast<int>(p.heads) * per_head;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * p.tokens;
  const int here = static_cast<int>(min(static_cast<int64_t>(p.tokens), p.all - first)), items = here * per_token;
  const auto locate = [&](int i) {
    Item it;
    it.slot = i / per_token;
    const int within = i - it.slot * per_token;
    it.head = within / per_head;
    it.at = within - it.head * per_head;
    return it;
  };
  const int64_t batch = first / p.seq, at_seq = first - batch * p.seq;  // the block's tokens lie in one sequence
  const T* from_block = x + batch * p.x[0] + at_seq * p.x[1];
  T* to_block = y + batch * p.y[0] + at_seq * p.y[1];
  const auto offset = [&](const int64_t(&strides)[3], const Item& it) { return it.slot * strides[1] + it.head * strides[2]; };
  constexpr bool kPieces = !kInterleaved && N > 1;  // of two halves
  Raw<T, N> low[kAhead], high[kAhead];
  if constexpr (kPieces)
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * kThreads;
      if (i >= items) continue;
      const Item it = locate(i);
      if (it.at >= turned) continue;
      const T* from = from_block + offset(p.x, it) + it.at * N;
      low[k] = load_raw<T, N>(from, 0), high[k] = load_raw<T, N>(from, p.pairs);
    }
  for (int i = static_cast<int>(threadIdx.x); i < here * p.pairs; i += kThreads) {
    const int slot = i / p.pairs;
    turn_of(p, positions[batch * p.positions[0] + (at_seq + slot) * p.positions[1]], i - slot * p.pairs, cosine[i], sine[i]);
  }
  __syncthreads();
  int done = 0;
  if constexpr (kPieces) {
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * kThreads;
      if (i >= items) continue;
      const Item it = locate(i);
      if (it.at >= turned) continue;
      turn_raw<T, N>(low[k], high[k], to_block + offset(p.y, it) + it.at * N, p.pairs, cosine + it.slot * p.pairs + it.at * N,
                     sine + it.slot * p.pairs + it.at * N);
    }
    done = rest == 0 ? kAhead * kThreads : 0;  // of the rest, elements may stand among the first items
  }
  for (int i = done + static_cast<int>(threadIdx.x); i < items; i += kThreads) {
    const Item it = locate(i);
    const T* from = from_block + offset(p.x, it);
    T* to = to_block + offset(p.y, it);
    const float *c = cosine + it.slot * p.pairs, *s = sine + it.slot * p.pairs;
    if (it.at >= turned) {
      const int other = it.at - turned, e = other - p.first + (other < p.first ? 0 : 2 * p.pairs);  // in front of the turned or behind
      to[e] = from[e];
    } else if constexpr (!kInterleaved) {
      if (!kPieces || i >= kAhead * kThreads) turn_halves<T, N>(from, to, it.at * N, p.pairs, c, s);
    } else if constexpr (N > 1) {
      turn_neighbours<T, N>(from, to, it.at * N, c, s);
    } else {
      const float cos = c[it.at], sin = s[it.at], first_of = widen(from[2 * it.at]), second = widen(from[2 * it.at + 1]);
      to[2 * it.at] = narrow<T>(first_of * cos - second * sin);
      to[2 * it.at + 1] = narrow<T>(second * cos + first_of * sin);
    }
  }
}

// Whole heads of two halves, in vectors: a thread turns one piece of a head of one token. Blocks are (pieces of a head, heads, tokens), so
// that no index is divided before the first load. (Two tokens a thread took 25.9 us where this takes 25.0, 4 x 8192 x 8 x 64 on an H100.)
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    rope_halves_kernel(const T* x, const int32_t* positions, T* y, const __grid_constant__ RopeArgs p) {
  constexpr int N = kLanes<T>;
  extern __shared__ __align__(16) float angles[];  // cosines, sines: [tokens pairs] each
  const int tokens = static_cast<int>(blockDim.z), head = static_cast<int>(blockIdx.z * blockDim.y + threadIdx.y);
  float *cosine = angles, *sine = angles + tokens * p.pairs;
  const int at = static_cast<int>(threadIdx.x) * N, slot_here = static_cast<int>(threadIdx.z);
  const int64_t batch = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * tokens, here = first + slot_here;
  const bool inside = here < p.seq && head < p.heads;
  Raw<T, N> low, high;
  if (inside) {
    const T* from = x + batch * p.x[0] + here * p.x[1] + head * p.x[2] + at;
    low = load_raw<T, N>(from, 0), high = load_raw<T, N>(from, p.pairs);
  }
  const int threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  for (int i = static_cast<int>((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x); i < tokens * p.pairs; i += threads) {
    const int slot = static_cast<int>(__umulhi(static_cast<unsigned>(i), p.by_pairs));
    if (first + slot >= p.seq) break;
    turn_of(p, positions[batch * p.positions[0] + (first + slot) * p.positions[1]], i - slot * p.pairs, cosine[i], sine[i]);
  }
  __syncthreads();
  if (!inside) return;
  T* to = y + batch * p.y[0] + here * p.y[1] + head * p.y[2] + at;
  turn_raw<T, N>(low, high, to, p.pairs, cosine + slot_here * p.pairs + at, sine + slot_here * p.pairs + at);
}

bool vector_heads(const RopeArgs& p, const void* x, const void* y, int lanes, bool interleaved) {
  bool fits = (interleaved ? 2 * p.pairs : p.pairs) % lanes == 0 && aligned16(x) && aligned16(y);
  for (int i = 0; i < 3; ++i) fits = fits && p.x[i] % lanes == 0 && p.y[i] % lanes == 0;
  return fits;
}

// As many tokens per block as fill its threads with the pieces that are fetched ahead; a divisor of the sequence's length.
int tokens_of(const RopeArgs& p, int lanes) {
  const int64_t pieces = p.heads * std::max(p.pairs / lanes, 1);
  int tokens = static_cast<int>(std::clamp<int64_t>(kAhead * kThreads / std::max<int64_t>(pieces, 1), 1, 8));
  while (p.seq % tokens != 0) --tokens;
  return tokens;
}

template <class T>
void launch_halves(const Launch& l, RopeArgs p) {
  constexpr int64_t kMostSlots = 64;  // threads of a block in z
  const auto size = [](int64_t a, int64_t b, int64_t c) {
    return dim3(static_cast<unsigned>(a), static_cast<unsigned>(b), static_cast<unsigned>(c));
  };
  const int64_t pieces = p.pairs / kLanes<T>, heads = std::min<int64_t>(p.heads, kMostThreads / pieces),
                slots = std::clamp<int64_t>(kThreads / (pieces * heads), 1, kMostSlots);
  p.by_pairs = static_cast<uint32_t>(ceil_div(int64_t{1} << 32, p.pairs));
  const dim3 blocks = size(ceil_div(p.seq, slots), p.all / p.seq, ceil_div(p.heads, heads));
  rope_halves_kernel<T><<<blocks, size(pieces, heads, slots), static_cast<size_t>(slots * p.pairs) * 2 * sizeof(float), l.stream()>>>(
      l.in<T>(0) + p.first, l.in<int32_t>(1), l.out<T>(0) + p.first, p);
}

template <class T, bool kInterleaved>
void launch_rope(const Launch& l, RopeArgs p, bool vector) {
  constexpr int64_t kMostBlocks = 65535;                         // in y and z
  const bool whole = l.in(0) == l.out(0) || 2 * p.pairs == p.d;  // nothing but the turned elements is written
  if (!kInterleaved && vector && whole && p.all / p.seq <= kMostBlocks && p.heads <= kMostBlocks) return launch_halves<T>(l, p);
  p.tokens = tokens_of(p, kLanes<T>);
  const unsigned grid = grid_of(p.all, p.tokens);
  const T* x = l.in<T>(0) + p.first;
  T* y = l.out<T>(0) + p.first;
  const size_t bytes = static_cast<size_t>(p.tokens * p.pairs) * 2 * sizeof(float);
  if (vector)
    rope_kernel<T, kLanes<T>, kInterleaved><<<grid, kThreads, bytes, l.stream()>>>(x, l.in<int32_t>(1), y, p);
  else
    rope_kernel<T, 1, kInterleaved><<<grid, kThreads, bytes, l.stream()>>>(x, l.in<int32_t>(1), y, p);
}

}  // namespace

NEMO_CUDA_KERNEL(rope) {
  const auto inv_freq = node.numbers("inv_freq");
  RopeArgs p{};
  if (inv_freq.size() > kMaxPairs) node.refuse("more than 256 rotary pairs");
  p.pairs = static_cast<int>(inv_freq.size());
  p.d = static_cast<int>(node.size('d'));
  const int64_t first = node.integer("offset");
  if (first < 0 || first + 2 * p.pairs > p.d) node.refuse("offset + 2 * len(inv_freq) is larger than the head dimension");
  p.first = static_cast<int>(first);
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const long double turns = inv_freq[i] / 6.283185307179586476925286766559L;
    p.turns[i] = static_cast<uint64_t>(std::ldexp(turns - std::floor(turns), 64));
  }
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
      const bool vector = vector_heads(p, l.in<T>(0) + p.first, l.out<T>(0) + p.first, kLanes<T>, interleaved);
      if (interleaved)
        launch_rope<T, true>(l, p, vector);
      else
        launch_rope<T, false>(l, p, vector);
    });
  });
}

}  // namespace nemo::cuda

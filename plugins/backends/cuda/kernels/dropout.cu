// Element e of sample s is dropped where word e % 4 of Philox4x32-10 is below p 2^32. key = {low32(rng[0]) ^ high32(key), high32(rng[0]) ^
// low32(key)}, counter = {low32(e / 4), high32(e / 4), low32(s), high32(s)}: the numbers of the CPU backend. Bound by memory.
#include "kernels/device.cuh"
#include "kernels/philox.cuh"

namespace nemo::cuda {

namespace {

// x is [samples][runs][length]; elements of a run follow one another in their sample, from (run + (second half ? shift : 0)) * step +
// start.
struct DropoutArgs {
  int64_t length, runs, n;    // of a run; runs of a sample; elements in all
  int64_t step, start, half;  // runs from `half` on belong to the second half
  int64_t shift;
  uint64_t key, threshold;
  float keep;
};

// 8 elements per thread of one run; N = 8 where buffers are aligned and runs are whole eights that start at whole groups of four, else 1.
template <class T, int N>
__global__ void dropout_kernel(const T* x, const int64_t* rng, T* y, const DropoutArgs p) {
  const int64_t per_run = (p.length + 7) / 8;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t row = thread / per_run, within = thread % per_run * 8, sample = row / p.runs, run = row % p.runs;
  const int64_t local = row * p.length + within;
  if (local >= p.n) return;
  const int64_t element = (run + (run >= p.half ? p.shift : 0)) * p.step + p.start + within;
  const uint64_t seed = static_cast<uint64_t>(rng[0]), number = static_cast<uint64_t>(rng[1] + sample);
  const uint32_t k0 = static_cast<uint32_t>(seed ^ (p.key >> 32)), k1 = static_cast<uint32_t>((seed >> 32) ^ p.key);
  const int64_t count = p.length - within < 8 ? p.length - within : 8;
  if constexpr (N == 8) {
    const PhiloxWords a = philox(k0, k1, static_cast<uint64_t>(element / 4), number),
                      b = philox(k0, k1, static_cast<uint64_t>(element / 4 + 1), number);
    float v[8];
    load<8>(x + local, v);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = (i < 4 ? a.word[i & 3] : b.word[i & 3]) < p.threshold ? 0.0f : v[i] * p.keep;
    store<8>(y + local, v);
  } else {
    PhiloxWords words{};
    for (int64_t i = 0; i < count; ++i) {
      const int64_t e = element + i;
      if (i == 0 || e % 4 == 0) words = philox(k0, k1, static_cast<uint64_t>(e / 4), number);
      y[local + i] = narrow<T>(words.word[e & 3] < p.threshold ? 0.0f : widen(x[local + i]) * p.keep);
    }
  }
}

DropoutArgs arguments_of(const Node& node, double p) {
  const Tensor& x = node.in(0);
  const bool vector = x.rank() < 2;
  const int64_t samples = vector ? 1 : x.shape[0], seq = vector ? 1 : x.shape[1];
  const int64_t inner = x.size() / (samples * seq > 0 ? samples * seq : 1);
  const int64_t whole = node.integer("inner_size") > 0 ? node.integer("inner_size") : inner;
  const int64_t first = vector ? 0 : node.integer("seq_start"), second = vector ? -1 : node.integer("seq_start2");
  if (second >= 0 && seq % 2 != 0) node.refuse("seq_start2 needs an even number of positions");
  DropoutArgs a{};
  a.n = x.size();
  a.start = first * whole + (vector ? 0 : node.integer("inner_start"));
  // One run a sample, or half a sample, where whole positions follow one another; else one a position.
  const int64_t halves = second >= 0 ? 2 : 1;
  a.runs = whole == inner ? halves : seq;
  a.length = whole == inner ? seq / halves * inner : inner;
  a.step = whole == inner ? a.length : whole;
  a.half = second >= 0 ? a.runs / 2 : a.runs;
  if (second >= 0 && whole == inner && (second - first) % (seq / 2) != 0) {  // the second half is no whole number of runs away
    a.runs = seq, a.length = inner, a.step = whole, a.half = seq / 2;
  }
  a.shift = second >= 0 ? (second - first) * whole / a.step - a.half : 0;
  a.key = static_cast<uint64_t>(node.integer("key"));
  a.threshold = static_cast<uint64_t>(p * 4294967296.0);
  a.keep = p < 1 ? static_cast<float>(1 / (1 - p)) : 0.0f;
  return a;
}

}  // namespace

NEMO_CUDA_KERNEL(dropout) {
  if (node.size('r') != 2) node.refuse("rng must be [2]: seed and number of the first sample");
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const double p = node.number("p");
  if (!(p >= 0 && p <= 1)) node.refuse("p must be within [0, 1]");
  const DropoutArgs args = arguments_of(node, p);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([args](const Launch& l) {
      if (args.n == 0) return;
      const unsigned grid = grid_of(args.n / args.length * ((args.length + 7) / 8), 256);
      const bool groups = args.length % 8 == 0 && args.start % 4 == 0 && args.step % 4 == 0;
      if (groups && aligned16(l.in(0)) && aligned16(l.out(0)))
        dropout_kernel<T, 8><<<grid, 256, 0, l.stream()>>>(l.in<T>(0), l.in<int64_t>(1), l.out<T>(0), args);
      else
        dropout_kernel<T, 1><<<grid, 256, 0, l.stream()>>>(l.in<T>(0), l.in<int64_t>(1), l.out<T>(0), args);
    });
  });
}

}  // namespace nemo::cuda

// Element i (row-major) is dropped where word i % 4 of Philox4x32-10 is below p 2^32. key = {low32(rng[0]) ^ high32(key), high32(rng[0]) ^
// low32(key)}, counter = {low32(i / 4), high32(i / 4), low32(rng[1]), high32(rng[1])}: the numbers of the CPU backend. Bound by memory.
#include "kernels/device.cuh"
#include "kernels/philox.cuh"

namespace nemo::cuda {

namespace {

struct DropoutArgs {
  int64_t n;
  uint64_t key, threshold;
  float keep;
};

// 8 elements per thread; N = 8 where the buffers are aligned, else 1.
template <class T, int N>
__global__ void dropout_kernel(const T* x, const int64_t* rng, T* y, const DropoutArgs p) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (first >= p.n) return;
  const uint64_t seed = static_cast<uint64_t>(rng[0]), step = static_cast<uint64_t>(rng[1]);
  const uint32_t k0 = static_cast<uint32_t>(seed ^ (p.key >> 32)), k1 = static_cast<uint32_t>((seed >> 32) ^ p.key);
  const PhiloxWords a = philox(k0, k1, static_cast<uint64_t>(first / 4), step),
                    b = philox(k0, k1, static_cast<uint64_t>(first / 4 + 1), step);
  float v[8];
  const bool whole = N == 8 && first + 8 <= p.n;
  if (whole)
    load<8>(x + first, v);
  else
    for (int i = 0; i < 8; ++i) v[i] = first + i < p.n ? widen(x[first + i]) : 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t word = i < 4 ? a.word[i & 3] : b.word[i & 3];
    v[i] = word < p.threshold ? 0.0f : v[i] * p.keep;
  }
  if (whole)
    store<8>(y + first, v);
  else
    for (int i = 0; i < 8; ++i)
      if (first + i < p.n) y[first + i] = narrow<T>(v[i]);
}

}  // namespace

NEMO_CUDA_KERNEL(dropout) {
  if (node.size('r') != 2) node.refuse("rng must be [2]: seed and counter");
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const double p = node.number("p");
  if (!(p >= 0 && p <= 1)) node.refuse("p must be within [0, 1]");
  const DropoutArgs args{node.in(0).size(), static_cast<uint64_t>(node.integer("key")), static_cast<uint64_t>(p * 4294967296.0),
                         p < 1 ? static_cast<float>(1 / (1 - p)) : 0.0f};
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([args](const Launch& l) {
      const unsigned grid = grid_of(args.n, 8 * 256);
      if (aligned16(l.in(0)) && aligned16(l.out(0)))
        dropout_kernel<T, 8><<<grid, 256, 0, l.stream()>>>(l.in<T>(0), l.in<int64_t>(1), l.out<T>(0), args);
      else
        dropout_kernel<T, 1><<<grid, 256, 0, l.stream()>>>(l.in<T>(0), l.in<int64_t>(1), l.out<T>(0), args);
    });
  });
}

}  // namespace nemo::cuda

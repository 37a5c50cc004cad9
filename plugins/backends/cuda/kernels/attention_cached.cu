// cache_write and attention_cached: generation's few queries against many kept keys; bound by reading the cache. One block per (query,
// head, batch): each warp takes every kWarps-th key with a running maximum and sum, then the warps' parts are joined. f32 arithmetic.
#include "kernels/distance_buckets.cuh"

namespace nemo::cuda {

namespace {

constexpr int kWarps = 8, kPerLane = 8;  // head dimensions up to 32 * kPerLane = 256

struct CachedSpec {
  int64_t h, g, t, d, e, window, alibi, alibi_first;
  float scale, softcap;
  int64_t q[3], k[3], v[3], o[3];  // strides of batch, position, head
};

// The slope of a head's linear bias (nemo/cpp/alibi.hpp).
__device__ float tilt_of(const CachedSpec& p, int64_t head) {
  if (p.alibi == 0) return 0;
  int64_t n = 1, at = p.alibi_first + head;
  while (2 * n <= p.alibi) n *= 2;
  if (at >= n) at = 2 * (at - n), n *= 2;
  return exp2f(-8.0f * static_cast<float>(at + 1) / static_cast<float>(n));
}

template <class T>
__device__ void load_row(const T* p, int64_t n, float (&x)[kPerLane]) {
#pragma unroll
  for (int c = 0; c < kPerLane; ++c) {
    const int64_t at = static_cast<int64_t>(threadIdx.x) + 32 * c;
    x[c] = at < n ? widen(p[at]) : 0.0f;
  }
}

// table nullptr: no bias by distance.
template <class T>
__global__ void __launch_bounds__(32 * kWarps)
    attention_cached_kernel(const CachedSpec p, const Buckets bucket, const T* q, const T* k, const T* v, const int32_t* start,
                            const float* sinks, const T* table, T* o) {
  __shared__ float tops[kWarps], sums[kWarps], outs[kWarps][32 * kPerLane];
  const int64_t i = blockIdx.x, head = blockIdx.y, b = blockIdx.z, group = head / (p.h / p.g);
  const int warp = static_cast<int>(threadIdx.y), lane = static_cast<int>(threadIdx.x);
  const int64_t last = min(max(start[b] + i + 1, int64_t{1}), p.t), first = p.window > 0 ? max(int64_t{0}, last - p.window) : 0;
  float query[kPerLane], out[kPerLane] = {}, top = -INFINITY, sum = 0;
  const float tilt = tilt_of(p, head);
  load_row(q + b * p.q[0] + i * p.q[1] + head * p.q[2], p.d, query);
  for (int64_t j = first + warp; j < last; j += kWarps) {
    float row[kPerLane], score = 0;
    load_row(k + b * p.k[0] + j * p.k[1] + group * p.k[2], p.d, row);
#pragma unroll
    for (int c = 0; c < kPerLane; ++c) score += query[c] * row[c];
    for (int step = 16; step > 0; step /= 2) score += __shfl_xor_sync(0xffffffffu, score, step);
    score *= p.scale;
    if (p.softcap > 0) score = p.softcap * tanhf(score / p.softcap);
    score += tilt * static_cast<float>(j + 1 - last);
    if (table != nullptr) score += widen(table[bucket(static_cast<int>(j + 1 - last)) * p.h + head]);
    const float now = fmaxf(top, score), keep = __expf(top - now), weight = __expf(score - now);
    load_row(v + b * p.v[0] + j * p.v[1] + group * p.v[2], p.e, row);
#pragma unroll
    for (int c = 0; c < kPerLane; ++c) out[c] = out[c] * keep + weight * row[c];
    sum = sum * keep + weight;
    top = now;
  }
  if (lane == 0) tops[warp] = top, sums[warp] = sum;
#pragma unroll
  for (int c = 0; c < kPerLane; ++c) outs[warp][lane + 32 * c] = out[c];
  __syncthreads();
  float most = -INFINITY, total = 0;
  for (int w = 0; w < kWarps; ++w) most = fmaxf(most, tops[w]);
  if (sinks != nullptr) most = fmaxf(most, sinks[head]), total = __expf(sinks[head] - most);
  for (int w = 0; w < kWarps; ++w) total += sums[w] > 0 ? sums[w] * __expf(tops[w] - most) : 0;
  for (int64_t c = warp * 32 + lane; c < p.e; c += 32 * kWarps) {
    float x = 0;
    for (int w = 0; w < kWarps; ++w) x += sums[w] > 0 ? outs[w][c] * __expf(tops[w] - most) : 0;
    o[b * p.o[0] + i * p.o[1] + head * p.o[2] + c] = narrow<T>(x / total);
  }
}

template <class T>
__global__ void cache_write_kernel(const CachedSpec p, int64_t s, int64_t count, const T* x, const int32_t* start, T* cache) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n >= count) return;
  const int64_t c = n % p.d, head = n / p.d % p.g, i = n / (p.d * p.g) % s, b = n / (p.d * p.g * s), at = start[b] + i;
  if (at < 0 || at >= p.t) return;
  cache[b * p.o[0] + at * p.o[1] + head * p.o[2] + c] = x[b * p.q[0] + i * p.q[1] + head * p.q[2] + c];
}

void set_strides(int64_t (&to)[3], const Tensor& t) { std::copy_n(t.strides.begin(), 3, to); }

}  // namespace

NEMO_CUDA_KERNEL(attention_cached) {
  CachedSpec p{};
  p.h = node.size('h'), p.g = node.size('g'), p.t = node.size('t'), p.d = node.size('d'), p.e = node.size('e');
  p.alibi = node.integer("alibi"), p.alibi_first = node.integer("alibi_first");
  p.window = node.integer("window");
  p.scale = static_cast<float>(node.number("scale")), p.softcap = static_cast<float>(node.number("softcap"));
  if (p.g == 0 || p.h % p.g != 0) node.refuse("the number of query heads must be a multiple of the number of kv heads");
  if (std::max(p.d, p.e) > 32 * kPerLane) node.refuse("head dimensions above 256 have no kernel");
  node.need_contiguous(node.in(3));
  node.need_contiguous(node.in(4));
  node.need_contiguous(node.in(5));
  const bool has_sinks = node.in(4).present(), has_table = node.in(5).present();
  const Buckets bucket = has_table ? buckets_of(node) : Buckets{};
  set_strides(p.q, node.in(0)), set_strides(p.k, node.in(1)), set_strides(p.v, node.in(2)), set_strides(p.o, node.out(0));
  const dim3 grid(static_cast<unsigned>(node.size('s')), static_cast<unsigned>(p.h), static_cast<unsigned>(node.size('b')));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      attention_cached_kernel<T><<<grid, dim3(32, kWarps), 0, l.stream()>>>(p, bucket, l.in<T>(0), l.in<T>(1), l.in<T>(2), l.in<int32_t>(3),
                                                                            has_sinks ? l.in<float>(4) : nullptr,
                                                                            has_table ? l.in<T>(5) : nullptr, l.out<T>(0));
    });
  });
}

NEMO_CUDA_KERNEL(cache_write) {
  CachedSpec p{};
  p.g = node.size('g'), p.d = node.size('d'), p.t = node.out(0).shape[1];
  node.need_contiguous(node.in(1));
  set_strides(p.q, node.in(0)), set_strides(p.o, node.out(0));
  const int64_t s = node.size('s'), count = node.size('b') * s * p.g * p.d;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      cache_write_kernel<T><<<grid_of(count, 256), 256, 0, l.stream()>>>(p, s, count, l.in<T>(0), l.in<int32_t>(1), l.out<T>(0));
    });
  });
}

}  // namespace nemo::cuda

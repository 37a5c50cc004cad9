// ssd_scan_cached: generation's few tokens by the recurrence. A block takes 16 rows of one head's state, 16 lanes each, in registers; bound
// by reading and writing the state.
#include "kernels/ssd_scan.cuh"

namespace nemo::cuda {

namespace ssd {

namespace {

constexpr int kRows = 16, kLaneGroup = 16;

struct CachedArgs {
  Shape s;
  Inputs in;
  const int32_t *start, *count;
  void* y;
  Steps y_at;
  float* state;
};

// A lane has the states lane + 16 i, i < K.
template <class T, int K>
__global__ void __launch_bounds__(kRows* kLaneGroup) cached_kernel(const CachedArgs a) {
  const Shape& s = a.s;
  const Inputs& in = a.in;
  const int64_t h = blockIdx.y, b = blockIdx.z, g = h / (s.h / s.g),
                p = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kLaneGroup;
  const int lane = static_cast<int>(threadIdx.x) % kLaneGroup;
  const bool here = p < s.p;
  const float rate = -expf(in.a_log[h]), bias = in.dt_bias != nullptr ? in.dt_bias[h] : 0.0f, skip = in.skip != nullptr ? in.skip[h] : 0.0f;
  const int64_t count = min(max(static_cast<int64_t>(a.count[b]), int64_t{0}), s.s);
  float* state = a.state + ((b * s.h + h) * s.p + p) * s.n;
  const auto has = [&](int i) { return here && lane + kLaneGroup * i < s.n; };
  float v[K];
#pragma unroll
  for (int i = 0; i < K; ++i) v[i] = a.start[b] > 0 && has(i) ? state[lane + kLaneGroup * i] : 0.0f;
  for (int64_t t = 0; t < count; ++t) {
    const float raw = widen(static_cast<const T*>(in.dt)[in.dt_at.at(b, t, h)]) + bias;
    float dt = fmaxf(fmaxf(raw, 0.0f) + log1pf(expf(-fabsf(raw))), s.dt_min);
    if (s.dt_max > 0) dt = fminf(dt, s.dt_max);
    const float decay = expf(dt * rate), x = here ? widen(static_cast<const T*>(in.x)[in.x_at.at(b, t, h) + p]) : 0.0f;
    const T *bm = static_cast<const T*>(in.bm) + in.bm_at.at(b, t, g), *c = static_cast<const T*>(in.c) + in.c_at.at(b, t, g);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < K; ++i)
      if (has(i)) {
        v[i] = decay * v[i] + dt * x * widen(bm[lane + kLaneGroup * i]);
        sum += v[i] * widen(c[lane + kLaneGroup * i]);
      }
    sum = row_sum(sum);
    if (here && lane == 0) static_cast<T*>(a.y)[a.y_at.at(b, t, h) + p] = narrow<T>(sum + skip * x);
  }
  if (here && lane == 0)
    for (int64_t t = count; t < s.s; ++t) static_cast<T*>(a.y)[a.y_at.at(b, t, h) + p] = narrow<T>(0.0f);
#pragma unroll
  for (int i = 0; i < K; ++i)
    if (has(i)) state[lane + kLaneGroup * i] = v[i];
}

template <class T>
void launch(const CachedArgs& a, cudaStream_t stream) {
  const dim3 grid(grid_of(a.s.p, kRows), static_cast<unsigned>(a.s.h), static_cast<unsigned>(a.s.b));
  if (a.s.n <= 16)
    cached_kernel<T, 1><<<grid, kRows * kLaneGroup, 0, stream>>>(a);
  else if (a.s.n <= 64)
    cached_kernel<T, 4><<<grid, kRows * kLaneGroup, 0, stream>>>(a);
  else if (a.s.n <= 128)
    cached_kernel<T, 8><<<grid, kRows * kLaneGroup, 0, stream>>>(a);
  else
    cached_kernel<T, 16><<<grid, kRows * kLaneGroup, 0, stream>>>(a);
}

}  // namespace

}  // namespace ssd

NEMO_CUDA_KERNEL(ssd_scan_cached) {
  using namespace ssd;
  const Shape s = shape_of(node);
  const Arguments arguments(node, 0);
  const Steps y(node.out(0));
  node.need_contiguous(node.in(8));
  node.need_contiguous(node.out(1));
  if (s.n > 256) node.refuse("more than 256 states per element have no kernel");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (s.b * s.h * s.p == 0) return;
      launch<T>({s, arguments.of(l), l.in<int32_t>(7), l.in<int32_t>(8), l.out(0), y, l.out<float>(1)}, l.stream());
    });
  });
}

}  // namespace nemo::cuda

// attention forward, own kernel: a block takes 64 queries of one head, four warps of 16 rows, and walks the keys it may see with a running
// maximum and sum (Dao et al. 2022). 4 s t d flops per head; scores live in registers, f32 throughout, weights rounded to the storage type.
#include "attention_launch.cuh"

namespace nemo::cuda {

namespace attention {

namespace {

struct ForwardArgs {
  Problem p;
  Heads q, k, v, o;
  ForwardPointers x;
};

template <class T, int D>
constexpr int kKeyRowsOf = sizeof(T) == 2 ? (D == 256 ? 32 : 64) : (D == 256 ? 16 : 32);

template <class T, int D>
__global__ void __launch_bounds__(128) forward_kernel(const ForwardArgs a) {
  constexpr int kKeys = kKeyRowsOf<T, D>, kPitch = kRowPitch<T, D>;
  if (shut(a.x.gate)) return;
  extern __shared__ __align__(16) unsigned char shared[];
  T *q = reinterpret_cast<T*>(shared), *k = q + kQueryRows * kPitch, *v = k + kKeys * kPitch;
  const Problem& p = a.p;
  const int i0 = (gridDim.x - 1 - blockIdx.x) * kQueryRows, head = blockIdx.y, batch = blockIdx.z, group = head / (p.h / p.g);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int32_t* segments = p.segment_row(batch);
  const T* k_from = static_cast<const T*>(a.x.k) + batch * a.k.batch + group * a.k.head;
  const T* v_from = static_cast<const T*>(a.x.v) + batch * a.v.batch + group * a.v.head;
  load_rows<T, D>(q, static_cast<const T*>(a.x.q) + batch * a.q.batch + head * a.q.head, a.q.position, i0, kQueryRows, p.s, p.d, p.vector);
  const Range own = segments != nullptr ? Range(segments, i0, kQueryRows, p.s) : Range(0, 0);
  const int row0 = i0 + warp * 16 + lane / 4;
  int row_segment[2] = {};
  if (segments != nullptr)
    for (int half = 0; half < 2; ++half) row_segment[half] = segments[min(row0 + half * 8, p.s - 1)];

  float out[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  const float tilt = p.tilt_of(head);
  const int limit = p.keys_of(batch), last = min(p.last_key(min(i0 + kQueryRows, p.s) - 1), limit);
  // The next tile of keys from j0 on that shares a segment with the queries.
  Range keys(0, 0);
  auto seek = [&](int j0) {
    for (; segments != nullptr && j0 < last; j0 += kKeys) {
      keys = Range(segments, j0, kKeys, p.t);
      if (!own.apart(keys)) break;
    }
    return j0;
  };
  int j0 = seek(p.first_key(i0) / kKeys * kKeys);
  if (j0 < last) load_rows<T, D>(k, k_from, a.k.position, j0, kKeys, p.t, p.d, p.vector);
  commit_loads();
  while (j0 < last) {
    wait_for_loads<0>();
    __syncthreads();
    load_rows<T, D>(v, v_from, a.v.position, j0, kKeys, p.t, p.e, p.vector);
    commit_loads();
    float x[kKeys / 8][4] = {};
    rows_by_rows<D>(x, q + warp * 16 * kPitch, k, p.d);
    const bool plain = p.all_visible(i0 + warp * 16, 16, j0, kKeys, limit) && own.one_with(keys);
    const int here = j0;
    wait_for_loads<0>();
    __syncthreads();
    j0 = seek(j0 + kKeys);
    if (j0 < last) load_rows<T, D>(k, k_from, a.k.position, j0, kKeys, p.t, p.d, p.vector);
    commit_loads();

    if (plain) {
      const float factor = p.scale * kLog2E;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int c = 0; c < 4; ++c) x[n][c] *= factor;
    } else {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int j = here + n * 8 + lane % 4 * 2 + c, other = segments != nullptr ? segments[min(j, p.t - 1)] : 0;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float slope, &y = x[n][half * 2 + c];
            const float score = p.score(y, slope) + p.bias_of(head, tilt, row0 + half * 8, j);
            y = p.visible(row0 + half * 8, j, row_segment[half], other, limit) ? score * kLog2E : -INFINITY;
          }
        }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float now = top[half];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) now = fmaxf(now, fmaxf(x[n][half * 2], x[n][half * 2 + 1]));
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
      const float base = now == -INFINITY ? 0 : now, keep = power_of_two(top[half] - base);
      top[half] = now;
      sum[half] *= keep;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) out[n][half * 2] *= keep, out[n][half * 2 + 1] *= keep;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float& y = x[n][half * 2 + c];
          y = power_of_two(y - base);
          sum[half] += y;
        }
    }
    weights_by_rows<D>(out, x, v);
  }
  wait_for_loads<0>();

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sum[half] += __shfl_xor_sync(~0u, sum[half], 1);
    sum[half] += __shfl_xor_sync(~0u, sum[half], 2);
    float kept = 1;
    if (p.extras.sinks != nullptr) {
      const float sink = p.extras.sinks[head] * kLog2E, now = fmaxf(top[half], sink);
      if (now != -INFINITY) {
        kept = power_of_two(top[half] - now);
        sum[half] = sum[half] * kept + power_of_two(sink - now);
        top[half] = now;
      }
    }
    factor[half] = sum[half] > 0 ? kept / sum[half] : 0;
    const int i = i0 + warp * 16 + lane / 4 + half * 8;
    if (lane % 4 == 0 && i < p.s)
      a.x.lse[(static_cast<int64_t>(batch) * p.h + head) * p.s + i] = sum[half] > 0 ? (top[half] + log2f(sum[half])) * kLn2 : -INFINITY;
  }
  store_rows(out, factor, static_cast<T*>(a.x.o) + batch * a.o.batch + head * a.o.head, a.o.position, i0 + warp * 16, p.s, 0, p.e);
}

template <class T, int D>
void launch(const ForwardArgs& a, cudaStream_t stream) {
  constexpr int kBytes = (kQueryRows + 2 * kKeyRowsOf<T, D>)*kRowPitch<T, D> * static_cast<int>(sizeof(T));
  const dim3 grid((a.p.s + kQueryRows - 1) / kQueryRows, a.p.h, a.p.b);
  launch_kernel(forward_kernel<T, D>, grid, 128, kBytes, stream, a);
}

}  // namespace

}  // namespace attention

void own_forward(const AttentionForward& f, const ForwardPointers& x, cudaStream_t stream) {
  using namespace attention;
  if (f.spec.b * f.spec.s * f.spec.h == 0) return;
  const ForwardArgs args{make_problem(f.spec, x.segments, x.extras, {{x.q, f.q}, {x.k, f.k}, {x.v, f.v}}), f.q, f.k, f.v, f.o, x};
  with_kernel_type(f.spec, [&]<class T, int D>() { launch<T, D>(args, stream); });
}

}  // namespace nemo::cuda

// Gradients of what is added to attention's scores: dsinks and dbias. Fixed order of every sum.
//   dS = P (dP - rowsum(dO O)); dbias[h i j] = sum_b dS; dsinks[h] = -sum_{b i} e^(sink - lse) rowsum(dO O), a sink's value being 0
#include "attention_backward.cuh"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace attention {

namespace {

// A block per head.
__global__ void __launch_bounds__(256) sinks_kernel(const BackwardArgs a) {
  __shared__ float scratch[32];
  const Problem& p = a.p;
  const int head = blockIdx.x;
  const float sink = p.extras.sinks[head];
  float sum[1] = {0};
  for (int64_t i = threadIdx.x; i < static_cast<int64_t>(p.b) * p.s; i += blockDim.x) {
    const int64_t at = (i / p.s * p.h + head) * p.s + i % p.s;
    sum[0] -= expf(sink - a.x.lse[at]) * a.dots[at];
  }
  block_reduce<1>(sum, scratch, Sum{});
  if (threadIdx.x != 0) return;
  const auto put = [&](auto* to) {
    using G = std::remove_pointer_t<decltype(to)>;
    to[head] = cuda::narrow<G>(a.x.add ? cuda::widen(to[head]) + sum[0] : sum[0]);
  };
  if (a.x.dsinks_type == NEMO_DTYPE_BF16)
    put(static_cast<bf16*>(a.x.dsinks));
  else if (a.x.dsinks_type == NEMO_DTYPE_F16)
    put(static_cast<f16*>(a.x.dsinks));
  else
    put(static_cast<float*>(a.x.dsinks));
}

// 64 queries of one head against kWalkedRows keys, for all sequences in order.
template <class T, int D>
__global__ void __launch_bounds__(128) bias_kernel(const BackwardArgs a) {
  constexpr int kKeys = kWalkedRows<T, D>, kPitch = kRowPitch<T, D>;
  extern __shared__ __align__(16) unsigned char shared[];
  T *q = reinterpret_cast<T*>(shared), *dout = q + kQueryRows * kPitch, *k = dout + kQueryRows * kPitch, *v = k + kKeys * kPitch;
  const Problem& p = a.p;
  const int i0 = blockIdx.x * kQueryRows, j0 = blockIdx.y * kKeys, head = blockIdx.z, group = head / (p.h / p.g);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row0 = i0 + warp * 16 + lane / 4;
  const float tilt = p.tilt_of(head);
  float sum[kKeys / 8][4] = {};
  for (int batch = 0; batch < p.b; ++batch) {
    const int limit = p.keys_of(batch);
    if (j0 >= min(p.last_key(min(i0 + kQueryRows, p.s) - 1), limit) || j0 + kKeys <= p.first_key(i0)) continue;
    const int32_t* segments = p.segment_row(batch);
    __syncthreads();
    load_rows<T, D>(q, static_cast<const T*>(a.x.q) + batch * a.q.batch + head * a.q.head, a.q.position, i0, kQueryRows, p.s, p.d,
                    p.vector);
    load_rows<T, D>(dout, static_cast<const T*>(a.x.dout) + batch * a.dout.batch + head * a.dout.head, a.dout.position, i0, kQueryRows, p.s,
                    p.e, p.vector);
    load_rows<T, D>(k, static_cast<const T*>(a.x.k) + batch * a.k.batch + group * a.k.head, a.k.position, j0, kKeys, p.t, p.d, p.vector);
    load_rows<T, D>(v, static_cast<const T*>(a.x.v) + batch * a.v.batch + group * a.v.head, a.v.position, j0, kKeys, p.t, p.e, p.vector);
    commit_loads();
    wait_for_loads<0>();
    __syncthreads();
    float x[kKeys / 8][4] = {}, dp[kKeys / 8][4] = {};
    rows_by_rows<D>(x, q + warp * 16 * kPitch, k, p.d);
    rows_by_rows<D>(dp, dout + warp * 16 * kPitch, v, p.e);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = row0 + half * 8, inside = min(i, p.s - 1);
      const int64_t row = (static_cast<int64_t>(batch) * p.h + head) * p.s + inside;
      const float lse = a.x.lse[row], dot = a.dots[row];
      const int own = segments != nullptr ? segments[inside] : 0;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int j = j0 + n * 8 + lane % 4 * 2 + c, other = segments != nullptr ? segments[min(j, p.t - 1)] : 0;
          float slope;
          const float score = p.score(x[n][half * 2 + c], slope) + p.bias_of(head, tilt, i, j);
          if (p.visible(i, j, own, other, limit) && lse != -INFINITY)
            sum[n][half * 2 + c] += power_of_two((score - lse) * kLog2E) * (dp[n][half * 2 + c] - dot);
        }
    }
  }
  const float ones[2] = {1, 1};
  store_rows(sum, ones, a.x.dbias + static_cast<int64_t>(head) * p.s * p.t, p.t, i0 + warp * 16, p.s, j0, p.t);
}

template <class T, int D>
void launch_bias(const BackwardArgs& a, cudaStream_t stream) {
  constexpr int kBytes = (2 * kQueryRows + 2 * kWalkedRows<T, D>)*kRowPitch<T, D> * static_cast<int>(sizeof(T));
  constexpr int kKeys = kWalkedRows<T, D>;
  const dim3 grid((a.p.s + kQueryRows - 1) / kQueryRows, (a.p.t + kKeys - 1) / kKeys, a.p.h);
  launch_kernel(bias_kernel<T, D>, grid, 128, kBytes, stream, a);
}

}  // namespace

void extras_backward(const AttentionBackward& f, const BackwardArgs& args, cudaStream_t stream) {
  if (args.x.dsinks != nullptr && f.spec.h > 0) launch_kernel(sinks_kernel, dim3(static_cast<unsigned>(f.spec.h)), 256, 0, stream, args);
  if (args.x.dbias == nullptr || f.spec.h * f.spec.s * f.spec.t == 0) return;
  with_kernel_type(f.spec, [&]<class T, int D>() { launch_bias<T, D>(args, stream); });
}

}  // namespace attention

}  // namespace nemo::cuda

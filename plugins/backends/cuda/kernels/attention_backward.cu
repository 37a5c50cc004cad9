// attention backward, own kernels, no atomics: one for dk and dv that walks the queries of a block of keys, one for dq that walks the keys of a
// block of queries; both compute the probabilities again from lse (14 s t d flops per head against 10, for a fixed order of every sum).
//   P = e^(S - lse), dV = P^T dO, dP = dO V^T, dS = P (dP - rowsum(dO O)) slope, dQ = scale dS K, dK = scale dS^T Q
#include "attention_launch.cuh"

namespace nemo::cuda {

namespace attention {

namespace {

struct BackwardArgs {
  Problem p;
  Heads dout, q, k, v, o, dq, dk, dv;
  BackwardPointers x;
  float* dots;  // rowsum(dO O) [b h s]
};

// A warp per row. Reads 2 e elements, writes 4 bytes.
template <class T>
__global__ void __launch_bounds__(256) dots_kernel(const BackwardArgs a) {
  const Problem& p = a.p;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (row >= static_cast<int64_t>(p.b) * p.h * p.s) return;
  const int64_t i = row % p.s, head = row / p.s % p.h, batch = row / p.s / p.h;
  const T* x = static_cast<const T*>(a.x.dout) + batch * a.dout.batch + i * a.dout.position + head * a.dout.head;
  const T* y = static_cast<const T*>(a.x.o) + batch * a.o.batch + i * a.o.position + head * a.o.head;
  float sum = 0;
  for (int c = threadIdx.x % 32; c < p.e; c += 32) sum += widen(x[c]) * widen(y[c]);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (threadIdx.x % 32 == 0) a.dots[row] = sum;
}

// Rows of the side that is walked.
template <class T, int D>
constexpr int kWalkedRows = sizeof(T) == 4 && D == 256 ? 16 : 32;

// product and dp become the probability and dS of query i and key j.
__device__ inline void differentiate(const Problem& p, int i, int j, const int32_t* segments, float lse, float dot, float& product, float& dp) {
  float slope;
  const float score = p.score(product, slope);
  product = p.visible(i, j, segments) && lse != -INFINITY ? exp2f((score - lse) * kLog2E) : 0;
  dp = product * (dp - dot) * slope;
}

// A warp owns 16 keys and up to 128 columns of dk and dv; with D = 256 two warps share the keys, and each computes the scores for itself.
template <int D>
constexpr int kKeyThreads = D == 256 ? 256 : 128;

template <class T, int D>
__global__ void __launch_bounds__(kKeyThreads<D>) keys_kernel(const BackwardArgs a) {
  constexpr int kQueries = kWalkedRows<T, D>, kPitch = kRowPitch<T, D>, kCols = D == 256 ? 128 : D;
  extern __shared__ __align__(16) unsigned char shared[];
  T *k = reinterpret_cast<T*>(shared), *v = k + kKeyRows * kPitch, *q = v + kKeyRows * kPitch, *dout = q + kQueries * kPitch;
  const Problem& p = a.p;
  const int j0 = blockIdx.x * kKeyRows, group = blockIdx.y, batch = blockIdx.z, per_group = p.h / p.g;
  const int warp = threadIdx.x / 32 % 4, col0 = threadIdx.x / 128 * kCols, lane = threadIdx.x % 32;
  const int32_t* segments = p.segment_row(batch);
  load_rows<T, D>(k, static_cast<const T*>(a.x.k) + batch * a.k.batch + group * a.k.head, a.k.position, j0, kKeyRows, p.t, p.d, p.vector);
  load_rows<T, D>(v, static_cast<const T*>(a.x.v) + batch * a.v.batch + group * a.v.head, a.v.position, j0, kKeyRows, p.t, p.e, p.vector);
  const Range own = segments != nullptr ? Range(segments, j0, kKeyRows, p.t) : Range(nullptr, 0, 0, 0);

  float dk[kCols / 8][4] = {}, dv[kCols / 8][4] = {};
  const int first = p.first_query(j0) / kQueries * kQueries, last = p.last_query(min(j0 + kKeyRows, p.t) - 1);
  for (int head = group * per_group; head < (group + 1) * per_group; ++head) {
    const T* q_from = static_cast<const T*>(a.x.q) + batch * a.q.batch + head * a.q.head;
    const T* dout_from = static_cast<const T*>(a.x.dout) + batch * a.dout.batch + head * a.dout.head;
    const int64_t row0 = (static_cast<int64_t>(batch) * p.h + head) * p.s;
    for (int i0 = first; i0 < last; i0 += kQueries) {
      if (segments != nullptr && own.apart(Range(segments, i0, kQueries, p.s))) continue;
      __syncthreads();
      load_rows<T, D>(q, q_from, a.q.position, i0, kQueries, p.s, p.d, p.vector);
      load_rows<T, D>(dout, dout_from, a.dout.position, i0, kQueries, p.s, p.e, p.vector);
      __syncthreads();
      float x[kQueries / 8][4] = {}, dp[kQueries / 8][4] = {};
      rows_by_rows<D>(x, k + warp * 16 * kPitch, q, p.d);
      rows_by_rows<D>(dp, v + warp * 16 * kPitch, dout, p.e);
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int i = i0 + n * 8 + lane % 4 * 2 + c;
          const float lse = i < p.s ? a.x.lse[row0 + i] : -INFINITY, dot = i < p.s ? a.dots[row0 + i] : 0;
#pragma unroll
          for (int half = 0; half < 2; ++half)
            differentiate(p, i, j0 + warp * 16 + lane / 4 + half * 8, segments, lse, dot, x[n][half * 2 + c], dp[n][half * 2 + c]);
        }
      weights_by_rows<D>(dv, x, dout + col0);
      weights_by_rows<D>(dk, dp, q + col0);
    }
  }
  const float ones[2] = {1, 1}, scales[2] = {p.scale, p.scale};
  store_rows(dv, ones, static_cast<T*>(a.x.dv) + batch * a.dv.batch + group * a.dv.head, a.dv.position, j0 + warp * 16, p.t, col0, p.e);
  store_rows(dk, scales, static_cast<T*>(a.x.dk) + batch * a.dk.batch + group * a.dk.head, a.dk.position, j0 + warp * 16, p.t, col0, p.d);
}

template <class T, int D>
__global__ void __launch_bounds__(128) queries_kernel(const BackwardArgs a) {
  constexpr int kKeys = kWalkedRows<T, D>, kPitch = kRowPitch<T, D>;
  extern __shared__ __align__(16) unsigned char shared[];
  T *q = reinterpret_cast<T*>(shared), *dout = q + kQueryRows * kPitch, *k = dout + kQueryRows * kPitch, *v = k + kKeys * kPitch;
  const Problem& p = a.p;
  const int i0 = (gridDim.x - 1 - blockIdx.x) * kQueryRows, head = blockIdx.y, batch = blockIdx.z, group = head / (p.h / p.g);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int32_t* segments = p.segment_row(batch);
  const T* k_from = static_cast<const T*>(a.x.k) + batch * a.k.batch + group * a.k.head;
  const T* v_from = static_cast<const T*>(a.x.v) + batch * a.v.batch + group * a.v.head;
  load_rows<T, D>(q, static_cast<const T*>(a.x.q) + batch * a.q.batch + head * a.q.head, a.q.position, i0, kQueryRows, p.s, p.d, p.vector);
  load_rows<T, D>(dout, static_cast<const T*>(a.x.dout) + batch * a.dout.batch + head * a.dout.head, a.dout.position, i0, kQueryRows, p.s, p.e, p.vector);
  const Range own = segments != nullptr ? Range(segments, i0, kQueryRows, p.s) : Range(nullptr, 0, 0, 0);
  float lse[2], dot[2], dq[D / 8][4] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = i0 + warp * 16 + lane / 4 + half * 8;
    const int64_t row = (static_cast<int64_t>(batch) * p.h + head) * p.s + i;
    lse[half] = i < p.s ? a.x.lse[row] : -INFINITY;
    dot[half] = i < p.s ? a.dots[row] : 0;
  }

  const int last = p.last_key(min(i0 + kQueryRows, p.s) - 1);
  for (int j0 = p.first_key(i0) / kKeys * kKeys; j0 < last; j0 += kKeys) {
    if (segments != nullptr && own.apart(Range(segments, j0, kKeys, p.t))) continue;
    __syncthreads();
    load_rows<T, D>(k, k_from, a.k.position, j0, kKeys, p.t, p.d, p.vector);
    load_rows<T, D>(v, v_from, a.v.position, j0, kKeys, p.t, p.e, p.vector);
    __syncthreads();
    float x[kKeys / 8][4] = {}, dp[kKeys / 8][4] = {};
    rows_by_rows<D>(x, q + warp * 16 * kPitch, k, p.d);
    rows_by_rows<D>(dp, dout + warp * 16 * kPitch, v, p.e);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int c = 0; c < 4; ++c)
        differentiate(p, i0 + warp * 16 + lane / 4 + c / 2 * 8, j0 + n * 8 + lane % 4 * 2 + c % 2, segments, lse[c / 2], dot[c / 2], x[n][c], dp[n][c]);
    weights_by_rows<D>(dq, dp, k);
  }
  const float scales[2] = {p.scale, p.scale};
  store_rows(dq, scales, static_cast<T*>(a.x.dq) + batch * a.dq.batch + head * a.dq.head, a.dq.position, i0 + warp * 16, p.s, 0, p.d);
}

template <class T, int D>
void launch(const BackwardArgs& a, cudaStream_t stream) {
  constexpr int kBytes = (2 * 64 + 2 * kWalkedRows<T, D>) * kRowPitch<T, D> * static_cast<int>(sizeof(T));
  const Problem& p = a.p;
  const int64_t rows = static_cast<int64_t>(p.b) * p.h * p.s;
  if (rows > 0) {
    launch_kernel(dots_kernel<T>, dim3(static_cast<unsigned>((rows + 7) / 8)), 256, 0, stream, a);
    launch_kernel(queries_kernel<T, D>, dim3((p.s + kQueryRows - 1) / kQueryRows, p.h, p.b), 128, kBytes, stream, a);
  }
  if (p.t > 0) launch_kernel(keys_kernel<T, D>, dim3((p.t + kKeyRows - 1) / kKeyRows, p.g, p.b), kKeyThreads<D>, kBytes, stream, a);
}

}  // namespace

}  // namespace attention

const char* own_refuses(const AttentionSpec& s) {
  if (s.dtype != NEMO_DTYPE_BF16 && s.dtype != NEMO_DTYPE_F32) return "attention computes in f32 and bf16 only";
  if (s.d > 256 || s.e > 256) return "head dimensions above 256 have no kernel";
  if (s.h > 65535 || s.b > 65535) return "more than 65535 heads or sequences have no kernel";
  return nullptr;
}

uint64_t own_backward_workspace(const AttentionBackward& p) { return align_up(static_cast<uint64_t>(p.spec.b * p.spec.h * p.spec.s) * sizeof(float)); }

void own_backward(const AttentionBackward& f, const BackwardPointers& x, cudaStream_t stream, void* workspace) {
  using namespace attention;
  if (f.spec.b == 0) return;
  const Problem problem = make_problem(f.spec, x.segments, {{x.dout, f.dout}, {x.q, f.q}, {x.k, f.k}, {x.v, f.v}});
  const BackwardArgs args{problem, f.dout, f.q, f.k, f.v, f.o, f.dq, f.dk, f.dv, x, static_cast<float*>(workspace)};
  with_kernel_type(f.spec, [&]<class T, int D>() { launch<T, D>(args, stream); });
}

}  // namespace nemo::cuda

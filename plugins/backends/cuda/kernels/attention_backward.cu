// attention backward, own kernels, no atomics: one for dk and dv that walks the queries of a block of keys, one for dq that walks the keys
// of a block of queries; both compute the probabilities again from lse (14 s t d flops per head against 10, for a fixed order of every
// sum).
//   P = e^(S - lse), dV = P^T dO, dP = dO V^T, dS = P (dP - rowsum(dO O)) slope, dQ = scale dS K, dK = scale dS^T Q
#include "attention_backward.cuh"

namespace nemo::cuda {

namespace attention {

namespace {

// A warp per row. Reads 2 e elements, writes 4 bytes.
template <class T>
__global__ void __launch_bounds__(256) dots_kernel(const BackwardArgs a) {
  const Problem& p = a.p;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (row >= static_cast<int64_t>(p.b) * p.h * p.s || shut(a.x.gate)) return;
  const int64_t i = row % p.s, head = row / p.s % p.h, batch = row / p.s / p.h;
  const T* x = static_cast<const T*>(a.x.dout) + batch * a.dout.batch + i * a.dout.position + head * a.dout.head;
  const T* y = static_cast<const T*>(a.x.o) + batch * a.o.batch + i * a.o.position + head * a.o.head;
  float sum = 0;
  for (int c = threadIdx.x % 32; c < p.e; c += 32) sum += widen(x[c]) * widen(y[c]);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (threadIdx.x % 32 == 0) a.dots[row] = sum;
}

// Two buffers of a pair of tiles that is walked: one is filled while the other is used.
template <class T, int D>
struct Walked {
  static constexpr int kTile = kWalkedRows<T, D> * kRowPitch<T, D>;
  T* base;
  __device__ T* first(int turn) const { return base + turn % 2 * 2 * kTile; }
  __device__ T* second(int turn) const { return first(turn) + kTile; }
};

// A warp owns 16 keys and up to 128 columns of dk and dv; with D = 256 two warps share the keys, and each computes the scores for itself.
template <int D>
constexpr int kKeyThreads = D == 256 ? 256 : 128;

template <class T, int D>
__global__ void __launch_bounds__(kKeyThreads<D>) keys_kernel(const BackwardArgs a) {
  constexpr int kQueries = kWalkedRows<T, D>, kPitch = kRowPitch<T, D>, kCols = D == 256 ? 128 : D;
  if (shut(a.x.gate)) return;
  extern __shared__ __align__(16) unsigned char shared[];
  T *k = reinterpret_cast<T*>(shared), *v = k + kKeyRows * kPitch;
  const Walked<T, D> walked{v + kKeyRows * kPitch};  // q, dout
  const Problem& p = a.p;
  const int j0 = blockIdx.x * kKeyRows, group = blockIdx.y, batch = blockIdx.z, per_group = p.h / p.g;
  const int warp = threadIdx.x / 32 % 4, col0 = threadIdx.x / 128 * kCols, lane = threadIdx.x % 32;
  const int32_t* segments = p.segment_row(batch);
  const int limit = p.keys_of(batch);
  load_rows<T, D>(k, static_cast<const T*>(a.x.k) + batch * a.k.batch + group * a.k.head, a.k.position, j0, kKeyRows, p.t, p.d, p.vector);
  load_rows<T, D>(v, static_cast<const T*>(a.x.v) + batch * a.v.batch + group * a.v.head, a.v.position, j0, kKeyRows, p.t, p.e, p.vector);
  const Range own = segments != nullptr ? Range(segments, j0, kKeyRows, p.t) : Range(0, 0);
  const int row0 = j0 + warp * 16 + lane / 4;
  int row_segment[2] = {};
  if (segments != nullptr)
    for (int half = 0; half < 2; ++half) row_segment[half] = segments[min(row0 + half * 8, p.t - 1)];

  float dk[kCols / 8][4] = {}, dv[kCols / 8][4] = {};
  const int first = p.first_query(j0) / kQueries * kQueries, last = p.last_query(min(j0 + kKeyRows, p.t) - 1),
            end = (group + 1) * per_group;
  // The place (head, i0) of the walk from the given one on that shares a segment with the keys.
  int head = group * per_group, i0 = first;
  Range queries(0, 0);
  auto seek = [&] {
    for (; head < end; ++head, i0 = first)
      for (; i0 < last; i0 += kQueries) {
        if (segments == nullptr) return;
        queries = Range(segments, i0, kQueries, p.s);
        if (!own.apart(queries)) return;
      }
  };
  auto load = [&](int turn) {
    if (head < end) {
      const T* q_from = static_cast<const T*>(a.x.q) + batch * a.q.batch + head * a.q.head;
      const T* dout_from = static_cast<const T*>(a.x.dout) + batch * a.dout.batch + head * a.dout.head;
      load_rows<T, D>(walked.first(turn), q_from, a.q.position, i0, kQueries, p.s, p.d, p.vector);
      load_rows<T, D>(walked.second(turn), dout_from, a.dout.position, i0, kQueries, p.s, p.e, p.vector);
    }
    commit_loads();
  };
  seek();
  load(0);
  for (int turn = 0; head < end; ++turn) {
    const int here = i0, query_head = head;
    const float tilt = p.tilt_of(head);
    const int64_t sums = (static_cast<int64_t>(batch) * p.h + head) * p.s;
    const bool plain = p.all_visible(i0, kQueries, j0 + warp * 16, 16, limit) && own.one_with(queries);
    i0 += kQueries;
    seek();
    load(turn + 1);
    wait_for_loads<1>();
    __syncthreads();
    float x[kQueries / 8][4] = {}, dp[kQueries / 8][4] = {};
    rows_by_rows<D>(x, k + warp * 16 * kPitch, walked.first(turn), p.d);
    rows_by_rows<D>(dp, v + warp * 16 * kPitch, walked.second(turn), p.e);
    if (plain) {
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int64_t at = sums + here + n * 8 + lane % 4 * 2 + c;
          const float lse = a.x.lse[at], dot = a.dots[at];
#pragma unroll
          for (int half = 0; half < 2; ++half) differentiate_plain(p, lse, dot, x[n][half * 2 + c], dp[n][half * 2 + c]);
        }
    } else {
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int i = here + n * 8 + lane % 4 * 2 + c, inside = min(i, p.s - 1), other = segments != nullptr ? segments[inside] : 0;
          const float lse = a.x.lse[sums + inside], dot = a.dots[sums + inside];
#pragma unroll
          for (int half = 0; half < 2; ++half)
            differentiate(p, p.visible(i, row0 + half * 8, other, row_segment[half], limit), lse, dot,
                          p.bias_of(query_head, tilt, i, row0 + half * 8), x[n][half * 2 + c], dp[n][half * 2 + c]);
        }
    }
    weights_by_rows<D>(dv, x, walked.second(turn) + col0);
    weights_by_rows<D>(dk, dp, walked.first(turn) + col0);
    __syncthreads();
  }
  wait_for_loads<0>();
  const float ones[2] = {1, 1}, scales[2] = {p.scale, p.scale};
  store_rows(dv, ones, static_cast<T*>(a.x.dv) + batch * a.dv.batch + group * a.dv.head, a.dv.position, j0 + warp * 16, p.t, col0, p.e);
  store_rows(dk, scales, static_cast<T*>(a.x.dk) + batch * a.dk.batch + group * a.dk.head, a.dk.position, j0 + warp * 16, p.t, col0, p.d);
}

template <class T, int D>
__global__ void __launch_bounds__(128) queries_kernel(const BackwardArgs a) {
  constexpr int kKeys = kWalkedRows<T, D>, kPitch = kRowPitch<T, D>;
  if (shut(a.x.gate)) return;
  extern __shared__ __align__(16) unsigned char shared[];
  T *q = reinterpret_cast<T*>(shared), *dout = q + kQueryRows * kPitch;
  const Walked<T, D> walked{dout + kQueryRows * kPitch};  // k, v
  const Problem& p = a.p;
  const int i0 = (gridDim.x - 1 - blockIdx.x) * kQueryRows, head = blockIdx.y, batch = blockIdx.z, group = head / (p.h / p.g);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int32_t* segments = p.segment_row(batch);
  const T* k_from = static_cast<const T*>(a.x.k) + batch * a.k.batch + group * a.k.head;
  const T* v_from = static_cast<const T*>(a.x.v) + batch * a.v.batch + group * a.v.head;
  load_rows<T, D>(q, static_cast<const T*>(a.x.q) + batch * a.q.batch + head * a.q.head, a.q.position, i0, kQueryRows, p.s, p.d, p.vector);
  load_rows<T, D>(dout, static_cast<const T*>(a.x.dout) + batch * a.dout.batch + head * a.dout.head, a.dout.position, i0, kQueryRows, p.s,
                  p.e, p.vector);
  const Range own = segments != nullptr ? Range(segments, i0, kQueryRows, p.s) : Range(0, 0);
  const int row0 = i0 + warp * 16 + lane / 4;
  float lse[2], dot[2], dq[D / 8][4] = {};
  int row_segment[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int inside = min(row0 + half * 8, p.s - 1);
    const int64_t row = (static_cast<int64_t>(batch) * p.h + head) * p.s + inside;
    lse[half] = a.x.lse[row];
    dot[half] = a.dots[row];
    if (segments != nullptr) row_segment[half] = segments[inside];
  }

  const float tilt = p.tilt_of(head);
  const int limit = p.keys_of(batch), last = min(p.last_key(min(i0 + kQueryRows, p.s) - 1), limit);
  int j0 = p.first_key(i0) / kKeys * kKeys;
  Range keys(0, 0);
  auto seek = [&] {
    for (; segments != nullptr && j0 < last; j0 += kKeys) {
      keys = Range(segments, j0, kKeys, p.t);
      if (!own.apart(keys)) break;
    }
  };
  auto load = [&](int turn) {
    if (j0 < last) {
      load_rows<T, D>(walked.first(turn), k_from, a.k.position, j0, kKeys, p.t, p.d, p.vector);
      load_rows<T, D>(walked.second(turn), v_from, a.v.position, j0, kKeys, p.t, p.e, p.vector);
    }
    commit_loads();
  };
  seek();
  load(0);
  for (int turn = 0; j0 < last; ++turn) {
    const int here = j0;
    const bool plain = p.all_visible(i0 + warp * 16, 16, j0, kKeys, limit) && own.one_with(keys);
    j0 += kKeys;
    seek();
    load(turn + 1);
    wait_for_loads<1>();
    __syncthreads();
    float x[kKeys / 8][4] = {}, dp[kKeys / 8][4] = {};
    rows_by_rows<D>(x, q + warp * 16 * kPitch, walked.first(turn), p.d);
    rows_by_rows<D>(dp, dout + warp * 16 * kPitch, walked.second(turn), p.e);
    if (plain) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int c = 0; c < 4; ++c) differentiate_plain(p, lse[c / 2], dot[c / 2], x[n][c], dp[n][c]);
    } else {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int half = c / 2, j = here + n * 8 + lane % 4 * 2 + c % 2, other = segments != nullptr ? segments[min(j, p.t - 1)] : 0;
          differentiate(p, p.visible(row0 + half * 8, j, row_segment[half], other, limit), lse[half], dot[half],
                        p.bias_of(head, tilt, row0 + half * 8, j), x[n][c], dp[n][c]);
        }
    }
    weights_by_rows<D>(dq, dp, walked.first(turn));
    __syncthreads();
  }
  wait_for_loads<0>();
  const float scales[2] = {p.scale, p.scale};
  store_rows(dq, scales, static_cast<T*>(a.x.dq) + batch * a.dq.batch + head * a.dq.head, a.dq.position, i0 + warp * 16, p.s, 0, p.d);
}

template <class T, int D>
void launch(const BackwardArgs& a, cudaStream_t stream) {
  constexpr int kBytes = (2 * 64 + 4 * kWalkedRows<T, D>)*kRowPitch<T, D> * static_cast<int>(sizeof(T));
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
  if (s.dtype != NEMO_DTYPE_BF16 && s.dtype != NEMO_DTYPE_F16 && s.dtype != NEMO_DTYPE_F32)
    return "attention computes in f32, bf16 and f16 only";
  if (s.d > 256 || s.e > 256) return "head dimensions above 256 have no kernel";
  if (s.h > 65535 || s.b > 65535) return "more than 65535 heads or sequences have no kernel";
  return nullptr;
}

uint64_t own_backward_workspace(const AttentionBackward& p) {
  return align_up(static_cast<uint64_t>(p.spec.b * p.spec.h * p.spec.s) * sizeof(float));
}

void own_backward(const AttentionBackward& f, const BackwardPointers& x, cudaStream_t stream, void* workspace) {
  using namespace attention;
  if (f.spec.b == 0) return;
  const Problem problem = make_problem(f.spec, x.segments, x.extras, {{x.dout, f.dout}, {x.q, f.q}, {x.k, f.k}, {x.v, f.v}});
  const BackwardArgs args{problem, f.dout, f.q, f.k, f.v, f.o, f.dq, f.dk, f.dv, x, static_cast<float*>(workspace)};
  with_kernel_type(f.spec, [&]<class T, int D>() { launch<T, D>(args, stream); });
  extras_backward(f, args, stream);
}

}  // namespace nemo::cuda

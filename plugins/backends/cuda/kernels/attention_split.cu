#include "attention_split.hpp"

#include <cstring>

#include "device.cuh"

namespace nemo::cuda {

namespace {

constexpr int64_t kFewest = 1024;  // queries: below, two launches cost more than the mask
constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads)
    add_kernel(T* dq, const T* __restrict__ more, int64_t groups, int64_t per_row, int64_t heads, int64_t positions, Heads to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= groups) return;
  constexpr int kN = kLanes<T>;
  const int64_t feature = i % per_row * kN, row = i / per_row, head = row % heads, position = row / heads % positions,
                batch = row / heads / positions;
  T* at = dq + batch * to.batch + position * to.position + head * to.head + feature;
  float x[kN], y[kN];
  load<kN>(at, x);
  load<kN>(more + i * kN, y);
#pragma unroll
  for (int n = 0; n < kN; ++n) x[n] += y[n];
  store<kN>(at, x);
}

template <class T>
void add(const AttentionBackward& p, void* dq, const void* more, cudaStream_t stream) {
  const AttentionSpec& s = p.spec;
  const int64_t groups = s.b * s.s * s.h * s.d / kLanes<T>;
  add_kernel<T><<<static_cast<unsigned>((groups + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      static_cast<T*>(dq), static_cast<const T*>(more), groups, s.d / kLanes<T>, s.h, s.s, p.dq);
}

int64_t bytes_before(const AttentionSpec& s, const Heads& x) { return (s.t - s.s) * x.position * sdk::size_of(s.dtype); }

}  // namespace

bool splits(const AttentionSpec& s) { return s.causal && s.window == 0 && !s.segments && !s.extended() && s.s >= kFewest && s.t > s.s; }

BackwardParts parts_of(const AttentionBackward& p) {
  BackwardParts parts;  // byte by byte: plans are found by the bytes of the problem
  std::memcpy(static_cast<void*>(&parts.before), &p, sizeof p);
  std::memcpy(static_cast<void*>(&parts.square), &p, sizeof p);
  parts.before.spec.t = p.spec.t - p.spec.s;
  parts.before.spec.causal = false;
  parts.square.spec.t = p.spec.s;
  parts.square.dq = {p.spec.s * p.spec.h * p.spec.d, p.spec.h * p.spec.d, p.spec.d};
  return parts;
}

BackwardPointers square_pointers(const AttentionBackward& p, const BackwardPointers& whole, void* dq) {
  BackwardPointers x = whole;
  x.k = static_cast<const char*>(whole.k) + bytes_before(p.spec, p.k);
  x.v = static_cast<const char*>(whole.v) + bytes_before(p.spec, p.v);
  x.dk = static_cast<char*>(whole.dk) + bytes_before(p.spec, p.dk);
  x.dv = static_cast<char*>(whole.dv) + bytes_before(p.spec, p.dv);
  x.dq = dq;
  return x;
}

uint64_t square_dq_bytes(const AttentionSpec& s) { return align_up(static_cast<uint64_t>(s.b * s.s * s.h * s.d * sdk::size_of(s.dtype))); }

void add_square_dq(const AttentionBackward& p, void* dq, const void* more, cudaStream_t stream) {
  if (p.spec.dtype == NEMO_DTYPE_BF16)
    add<bf16>(p, dq, more, stream);
  else
    add<f16>(p, dq, more, stream);
}

}  // namespace nemo::cuda

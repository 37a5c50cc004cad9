#include "attention_grouped.hpp"

#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kThreads = 256, kVector = 8;  // elements of 16 bits

struct GroupArgs {
  int64_t tokens, positions;                        // batch times positions
  int heads, groups, vectors;                       // vectors of a head
  int64_t batch_pitch, position_pitch, head_pitch;  // of the grouped tensor, in vectors
};

GroupArgs args_of(const AttentionSpec& s, const Heads& grouped, int64_t features) {
  return {s.b * s.t,
          s.t,
          static_cast<int>(s.h),
          static_cast<int>(s.g),
          static_cast<int>(features / kVector),
          grouped.batch / kVector,
          grouped.position / kVector,
          grouped.head / kVector};
}

__device__ __forceinline__ int64_t place(const GroupArgs& a, int64_t token, int group, int vector) {
  const int64_t b = token / a.positions;
  return b * a.batch_pitch + (token - b * a.positions) * a.position_pitch + group * a.head_pitch + vector;
}

// all[token head vector] = grouped[token, head's group, vector]
__global__ void __launch_bounds__(kThreads) spread_kernel(const uint4* grouped, uint4* all, const GroupArgs a) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, per_token = static_cast<int64_t>(a.groups) * a.vectors;
  if (i >= a.tokens * per_token) return;
  const int64_t token = i / per_token;
  const int within = static_cast<int>(i - token * per_token), group = within / a.vectors, vector = within - group * a.vectors;
  const int each = a.heads / a.groups;
  const uint4 v = grouped[place(a, token, group, vector)];
  uint4* to = all + (token * a.heads + static_cast<int64_t>(group) * each) * a.vectors + vector;
  for (int h = 0; h < each; ++h) to[static_cast<int64_t>(h) * a.vectors] = v;
}

// grouped = the sum of all over the heads of each group, in f32, in their order
template <class T>
__global__ void __launch_bounds__(kThreads) gather_kernel(const uint4* all, uint4* grouped, const GroupArgs a) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, per_token = static_cast<int64_t>(a.groups) * a.vectors;
  if (i >= a.tokens * per_token) return;
  const int64_t token = i / per_token;
  const int within = static_cast<int>(i - token * per_token), group = within / a.vectors, vector = within - group * a.vectors;
  const int each = a.heads / a.groups;
  const uint4* from = all + (token * a.heads + static_cast<int64_t>(group) * each) * a.vectors + vector;
  float sum[kVector] = {};
#pragma unroll 4
  for (int h = 0; h < each; ++h) {
    float x[kVector];
    load<kVector>(reinterpret_cast<const T*>(from + static_cast<int64_t>(h) * a.vectors), x);
#pragma unroll
    for (int e = 0; e < kVector; ++e) sum[e] += x[e];
  }
  store<kVector>(reinterpret_cast<T*>(grouped + place(a, token, group, vector)), sum);
}

unsigned grid_for(const GroupArgs& a) { return grid_of(a.tokens * a.groups * a.vectors, kThreads); }

void gather(const AttentionSpec& s, const Heads& to, int64_t features, const void* all, void* grouped, cudaStream_t stream) {
  const GroupArgs a = args_of(s, to, features);
  const auto* from = static_cast<const uint4*>(all);
  auto* out = static_cast<uint4*>(grouped);
  if (s.dtype == NEMO_DTYPE_BF16)
    gather_kernel<bf16><<<grid_for(a), kThreads, 0, stream>>>(from, out, a);
  else
    gather_kernel<f16><<<grid_for(a), kThreads, 0, stream>>>(from, out, a);
}

// Copies of k and v and the gradients of all heads, in front of cuDNN's own workspace.
struct Layout {
  uint64_t k = 0, v, dk, dv, rest;
  explicit Layout(const AttentionSpec& s) {
    const uint64_t keys = align_up(static_cast<uint64_t>(s.b * s.t * s.h * s.d) * 2),
                   values = align_up(static_cast<uint64_t>(s.b * s.t * s.h * s.e) * 2);
    v = keys, dk = v + values, dv = dk + keys, rest = dv + values;
  }
};

}  // namespace

AttentionBackward BackwardRoute::spread(AttentionBackward p) {
  AttentionSpec& s = p.spec;
  s.g = s.h;
  const auto dense = [&](int64_t features) { return Heads{s.t * s.h * features, s.h * features, features}; };
  p.k = p.dk = dense(s.d), p.v = p.dv = dense(s.e);
  return p;
}

uint64_t BackwardRoute::workspace() const {
  return (spreads() ? Layout(asked_.spec).rest : 0) + backward_workspace(*plan_, solved_, order_);
}

void BackwardRoute::run(CudnnBinding& binding, const BackwardPointers& x, cudaStream_t stream, char* workspace) const {
  if (!spreads()) return run_backward(binding, solved_, order_, x, stream, workspace);
  const AttentionSpec& s = asked_.spec;
  const Layout at(s);
  BackwardPointers all = x;
  all.k = workspace + at.k, all.v = workspace + at.v, all.dk = workspace + at.dk, all.dv = workspace + at.dv;
  const GroupArgs k = args_of(s, asked_.k, s.d), v = args_of(s, asked_.v, s.e);
  spread_kernel<<<grid_for(k), kThreads, 0, stream>>>(static_cast<const uint4*>(x.k), reinterpret_cast<uint4*>(workspace + at.k), k);
  spread_kernel<<<grid_for(v), kThreads, 0, stream>>>(static_cast<const uint4*>(x.v), reinterpret_cast<uint4*>(workspace + at.v), v);
  run_backward(binding, solved_, order_, all, stream, workspace + at.rest);
  gather(s, asked_.dk, s.d, all.dk, x.dk, stream);
  gather(s, asked_.dv, s.e, all.dv, x.dv, stream);
}

}  // namespace nemo::cuda

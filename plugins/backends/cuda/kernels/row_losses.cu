// A cluster of blocks per row of logits. Each block orders its part of the row at once from the bulk copy engine, an mbarrier per piece of
// it, and reduces pieces as they come; warps push their maxima and sums into the shared memory of every block of the cluster, whose one
// barrier is the only one; the gradient is made from what shared memory kept. Each logit is read once and its gradient written once: 4
// bytes per logit (bf16); bound by memory.
#include "kernels/row_losses.hpp"

#include "kernels/loss_row.cuh"
#include "kernels/row_ring.cuh"

namespace nemo::cuda {

namespace {

constexpr int kWarps = kLossThreads / 32, kMostBlocks = 8;
constexpr int kPieceBytes = kLossThreads * 16, kMostPieces = 14;
// Three blocks share a multiprocessor, so that one reads while another writes; rows too long for that leave two.
constexpr int64_t kPartBytes = 72 << 10, kMostPartBytes = static_cast<int64_t>(kPieceBytes) * 13;

template <class T>
struct Rows {
  LossSpec spec;
  T* logits;
  int64_t ld;
  const int32_t* labels;
  const float* dloss;
  float *loss, *lse;
  int* fault;
  int part;  // vectors of a block's share; the last block's may be shorter
};

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
__device__ __forceinline__ uint32_t cluster_size() {
  uint32_t n;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(n));
  return n;
}
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

// Into the same place of another block's shared memory.
__device__ __forceinline__ void push(const float* place, uint32_t rank, float value) {
  uint32_t at;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(at) : "r"(shared_address(place)), "r"(rank));
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(at), "f"(value) : "memory");
}

__device__ __forceinline__ void wait_first(const uint64_t* barrier) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], 0;\n"
      "@done bra arrived;\n"
      "bra again;\n"
      "arrived:\n"
      "}\n" ::"r"(shared_address(barrier))
      : "memory");
}

// Bytes of a piece of a part of `vectors`.
__device__ __forceinline__ uint32_t piece_bytes(int vectors, int piece) {
  return static_cast<uint32_t>(min(vectors - piece * kLossThreads, kLossThreads)) * 16;
}

// By one thread: barriers made, then the whole part ordered.
__device__ __forceinline__ void order_part(const char* from, char* to, int vectors, uint64_t* barriers) {
  const int pieces = (vectors + kLossThreads - 1) / kLossThreads;
  for (int i = 0; i < pieces; ++i) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barriers + i)));
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  for (int i = 0; i < pieces; ++i) {
    const uint32_t bar = shared_address(barriers + i), bytes = piece_bytes(vectors, i);
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to + static_cast<size_t>(i) * kPieceBytes)),
                 "l"(from + static_cast<size_t>(i) * kPieceBytes), "r"(bytes), "r"(bar)
                 : "memory");
  }
}

template <int kCount, class F>
__device__ __forceinline__ void warp_reduce(float (&x)[kCount], F combine) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
#pragma unroll
    for (int k = 0; k < kCount; ++k) x[k] = combine(x[k], __shfl_xor_sync(0xffffffffu, x[k], offset));
}

// What each warp of the cluster found in its share, by block and warp.
struct Shares {
  float max[kMostBlocks * kWarps], sum[kMostBlocks * kWarps], plain[kMostBlocks * kWarps];
};

// Every thread gets the totals of the row; contains the cluster's barrier. The first one must have been arrived at.
__device__ __forceinline__ RowTotals join(const RowSums& s, Shares& shares) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int blocks = static_cast<int>(cluster_size());
  float top[1] = {s.top};
  warp_reduce(top, Max{});
  float rest[2] = {s.sum * exp2f((s.top - top[0]) * kLog2e), s.plain};
  warp_reduce(rest, Sum{});
  cluster_wait();  // all blocks run, so their memory is there
  if (lane < blocks) {
    const int at = static_cast<int>(cluster_rank()) * kWarps + warp;
    push(shares.max + at, static_cast<uint32_t>(lane), top[0]);
    push(shares.sum + at, static_cast<uint32_t>(lane), rest[0]);
    push(shares.plain + at, static_cast<uint32_t>(lane), rest[1]);
  }
  __syncwarp();
  cluster_arrive();
  cluster_wait();
  float all[1] = {-3.0e38f};
  for (int i = lane; i < blocks * kWarps; i += 32) all[0] = fmaxf(all[0], shares.max[i]);
  warp_reduce(all, Max{});
  float sums[2] = {};
  for (int i = lane; i < blocks * kWarps; i += 32) {
    sums[0] += shares.sum[i] * exp2f((shares.max[i] - all[0]) * kLog2e);
    sums[1] += shares.plain[i];
  }
  warp_reduce(sums, Sum{});
  return {all[0], sums[0], sums[1]};
}

template <class T>
__device__ __forceinline__ Raw<T, kLanes<T>> kept_vector(const uint4* kept, int i) {
  Raw<T, kLanes<T>> raw;
  *reinterpret_cast<uint4*>(&raw) = kept[i];
  return raw;
}

// dx of this block's share, from what it kept, over the logits.
template <class T>
__device__ __forceinline__ void write_gradient(const LossSpec& p, T* row, const uint4* kept, int64_t first, int vectors, int64_t tail,
                                               int64_t label, float lse, float dloss) {
  constexpr int N = kLanes<T>;
  const float a = dloss * (1.0f + 2.0f * p.z_loss * lse), offset = dloss * p.smoothing / static_cast<float>(p.v);
  const float at_label = dloss * (1.0f - p.smoothing), shift = lse * kLog2e;
  const auto slope = [&](float x, bool labelled) {
    const float g = exp2f(x * kLog2e - shift) * a - offset;
    return labelled ? g - at_label : g;
  };
  T* part = row + first * N;
  const int label_here = label >= first * N && label < (first + vectors) * N ? static_cast<int>(label - first * N) : -1;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kLossThreads) {
    float x[N];
    widen(kept_vector<T>(kept, i), x);
#pragma unroll
    for (int e = 0; e < N; ++e) x[e] = slope(x[e], i * N + e == label_here);
    store<N>(part + static_cast<int64_t>(i) * N, x);
  }
  for (int64_t i = tail + threadIdx.x; i < p.v; i += kLossThreads) row[i] = narrow<T>(slope(widen(row[i]), i == label));
}

template <class T>
__device__ __forceinline__ void clear_share(T* row, int64_t first, int vectors, int64_t tail, int64_t v) {
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kLossThreads) reinterpret_cast<uint4*>(row)[first + i] = uint4{};
  for (int64_t i = tail + threadIdx.x; i < v; i += kLossThreads) row[i] = narrow<T>(0.0f);
}

template <class T>
__global__ void __launch_bounds__(kLossThreads, 3) row_losses_kernel(const __grid_constant__ Rows<T> p) {
  constexpr int N = kLanes<T>;
  extern __shared__ __align__(128) uint4 kept[];
  __shared__ Shares shares;
  __shared__ uint64_t barriers[kMostPieces];
  const uint32_t rank = cluster_rank(), blocks = cluster_size();
  const int64_t r = blockIdx.x / blocks, v = p.spec.v, whole = v / N;
  const int64_t first = min(static_cast<int64_t>(rank) * p.part, whole), tail = rank + 1 == blocks ? whole * N : v;
  const int vectors = static_cast<int>(min(static_cast<int64_t>(p.part), whole - first));
  T* row = p.logits + r * p.ld;
  const int64_t label = p.labels[r];
  const bool inside = label >= 0 && label < v, ignored = label == p.spec.ignore_index, counts = inside && !ignored;
  const bool speaks = rank == 0 && threadIdx.x == 0;
  if (speaks && !inside && !ignored) *p.fault = static_cast<int>(Fault::label);
  if (!counts && p.lse == nullptr) {  // all blocks of the cluster alike
    if (speaks) p.loss[r] = 0;
    if (p.dloss != nullptr) clear_share(row, first, vectors, tail, v);
    return;
  }
  if (threadIdx.x == 0) order_part(reinterpret_cast<const char*>(row + first * N), reinterpret_cast<char*>(kept), vectors, barriers);
  cluster_arrive();
  __syncthreads();
  const float at_label = speaks && counts ? widen(row[label]) : 0.0f;  // the second barrier comes before it may be overwritten
  RowSums s;
  for (int i = static_cast<int>(threadIdx.x), piece = 0; i < vectors; i += kLossThreads, ++piece) {
    wait_first(barriers + piece);
    float x[N];
    widen(kept_vector<T>(kept, i), x);
    float here = x[0];
#pragma unroll
    for (int e = 1; e < N; ++e) here = fmaxf(here, x[e]);
    s.raise(here);
#pragma unroll
    for (int e = 0; e < N; ++e) s.add(x[e]);
  }
  for (int64_t i = tail + threadIdx.x; i < v; i += kLossThreads) {
    s.raise(widen(row[i]));
    s.add(widen(row[i]));
  }
  const RowTotals t = join(s, shares);
  const float lse = lse_of(t);
  if (speaks) p.loss[r] = counts ? loss_of_row(p.spec, t, lse, at_label) : 0.0f;
  if (speaks && p.lse != nullptr) p.lse[r] = lse;
  if (p.dloss == nullptr) return;
  if (counts)
    write_gradient(p.spec, row, kept, first, vectors, tail, label, lse, p.dloss[r]);
  else
    clear_share(row, first, vectors, tail, v);
}

// Of a block's share of a row's whole vectors.
int64_t part_bytes(int64_t v, nemo_dtype type, int blocks) { return ceil_div(v * size_of(type) / 16, blocks) * 16; }

template <class T>
void launch(const RowLosses& l, int blocks, cudaStream_t stream) {
  const int part = static_cast<int>(part_bytes(l.spec.v, l.type, blocks) / 16);
  const Rows<T> rows{l.spec, static_cast<T*>(l.logits), l.ld, l.labels, l.dloss, l.loss, l.lse, l.fault, part};
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(blocks), cluster.val.clusterDim.y = 1, cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(l.rows * blocks));
  config.blockDim = dim3(kLossThreads);
  config.dynamicSmemBytes = static_cast<size_t>(part) * 16;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  check(cudaFuncSetAttribute(row_losses_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kMostPartBytes)),
        "shared memory of a kernel");
  check(cudaLaunchKernelEx(&config, row_losses_kernel<T>, rows), "losses of rows");
}

}  // namespace

int row_loss_blocks(int64_t v, nemo_dtype type) {
  for (int blocks = 1; blocks <= kMostBlocks; blocks *= 2)
    if (part_bytes(v, type, blocks) <= kPartBytes) return blocks;
  return part_bytes(v, type, kMostBlocks) <= kMostPartBytes ? kMostBlocks : 0;
}

bool launch_row_losses(const RowLosses& l, cudaStream_t stream) {
  const int blocks = row_loss_blocks(l.spec.v, l.type);
  if (blocks == 0 || !aligned16(l.logits) || l.ld * size_of(l.type) % 16 != 0) return false;
  if (l.rows * blocks > 0x7fffffff) return false;
  if (l.rows == 0) return true;
  with_type(l.type, [&](auto tag) { launch<decltype(tag)>(l, blocks, stream); });
  return true;
}

}  // namespace nemo::cuda

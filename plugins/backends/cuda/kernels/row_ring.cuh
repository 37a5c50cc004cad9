// Rows streamed through shared memory by the bulk copy engine. A block is `groups` groups of `threads` threads; each group walks over its
// own rows, from the last to the first (what a product before has just written is still in the L2 cache, and what a product behind reads
// first is left there), and keeps `kRingStages` of them, of every tensor, under way: what is in flight does not depend on registers. One
// thread of the group orders the copies; an mbarrier per stage counts the bytes that have come.
#pragma once

#include <cstdlib>

#include "kernels/row_teams.cuh"

namespace nemo::cuda {

constexpr int kRingStages = 4, kRingGroups = 15;  // hardware has 16 barriers, one of them the block's
constexpr int kRingThreads = 1024;
constexpr int kRingShared = kRingThreads * 16 * kRingStages;  // bytes per tensor, at most

// Hides where a value came from, so that what is computed from it is computed again and not kept in registers.
template <class T, int N>
__device__ __forceinline__ void forget(Raw<T, N>& raw) {
  uint4& v = *reinterpret_cast<uint4*>(&raw);
  asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
}

struct RingShape {
  int threads = 0, groups = 0;  // threads: of a group, a multiple of 32
  uint32_t row_bytes = 0;
  size_t shared_bytes = 0;
  unsigned grid = 0;
  bool balanced = std::getenv("NEMO_RING_BALANCED") != nullptr;
  // Set at launch: row 0 of every tensor, and bytes from row to row. Kernels read them from their parameters: registers are few.
  const char* at[3] = {};
  int64_t pitch[3] = {};
  void from(int k, const void* rows, int64_t ld, int64_t width) { at[k] = static_cast<const char*>(rows), pitch[k] = ld * width; }
};

// For rows of `cols` elements of `tensors` tensors, one vector of 16 bytes per thread, `most` threads in a block; threads = 0 where rows
// are too long.
inline RingShape ring_shape(int64_t rows, int64_t cols, int64_t width, int tensors, int multiprocessors, int most = kRingThreads) {
  RingShape s;
  const int64_t vectors = cols * width / 16, threads = ceil_div(vectors, 32) * 32;
  if (threads > most) return s;
  s.threads = static_cast<int>(threads);
  s.groups = std::min(most / s.threads, kRingGroups);
  s.row_bytes = static_cast<uint32_t>(vectors * 16);
  s.shared_bytes = static_cast<size_t>(s.groups) * kRingStages * static_cast<size_t>(tensors) * s.row_bytes;
  s.grid = static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, s.groups), 1, multiprocessors));
  return s;
}



// Whether the rows are read again soon. No: their copies are the first to leave the L2 cache, so that results stay there. Measured on an
// H100, 16384 x 1600: 4 us of 84 less in the norms, 3 us more in their gradients.
enum class Again { no, yes };

template <int kTensors, Again kAgain>
class RowRing {
 public:
  // Every thread of the block makes one; `memory` and `full` are the block's.
  __device__ RowRing(const RingShape& shape, char* memory, uint64_t* full, int64_t rows)
      : stride_(static_cast<int64_t>(gridDim.x) * shape.groups), bytes_(shape.row_bytes) {
    group = static_cast<int>(threadIdx.x) / shape.threads;
    thread = static_cast<int>(threadIdx.x) % shape.threads;
    first = rows - 1 - (shape.balanced ? static_cast<int64_t>(group) * gridDim.x + blockIdx.x
                                       : static_cast<int64_t>(blockIdx.x) * shape.groups + group);
    memory_ = memory + static_cast<size_t>(group) * kRingStages * kTensors * bytes_;
    full_ = full + group * kRingStages;
    threads_ = shape.threads;
    while (fold_ < threads_ / 32) fold_ *= 2;
    if (thread == 0) {
      for (int s = 0; s < kRingStages; ++s) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(full_ + s)));
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
  }

  // Orders the rows of turn `i`, if there are any. By thread 0 of the group.
  __device__ __forceinline__ void order(int i, const RingShape& shape) const {
    const int64_t row = row_of(i);
    if (row < 0) return;
    const int stage = i % kRingStages;
    const uint32_t bar = shared_address(full_ + stage);
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(kTensors * bytes_) : "memory");
    uint64_t policy = 0;
    if constexpr (kAgain == Again::no) asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
#pragma unroll
    for (int k = 0; k < kTensors; ++k) {
      const uint32_t to = shared_address(memory_ + (static_cast<size_t>(stage) * kTensors + k) * bytes_);
      const char* from = shape.at[k] + row * shape.pitch[k];
      if constexpr (kAgain == Again::no)
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(to),
                     "l"(from), "r"(bytes_), "r"(bar), "l"(policy)
                     : "memory");
      else
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from),
                     "r"(bytes_), "r"(bar)
                     : "memory");
    }
  }

  __device__ void wait(int i) const {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra arrived;\n"
        "bra again;\n"
        "arrived:\n"
        "}\n" ::"r"(shared_address(full_ + i % kRingStages)),
        "r"(static_cast<uint32_t>(i / kRingStages) & 1u)
        : "memory");
  }
  template <class T>
  __device__ __forceinline__ Raw<T, kLanes<T>> get(int i, int k) const {
    const uint32_t at =
        shared_address(memory_) + static_cast<uint32_t>((i % kRingStages) * kTensors + k) * bytes_ + static_cast<uint32_t>(thread) * 16;
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
    Raw<T, kLanes<T>> raw;
    *reinterpret_cast<uint4*>(&raw) = v;
    return raw;
  }

  // A barrier of the group.
  __device__ void join() const {
    if (threads_ == 32)
      __syncwarp();
    else
      asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "r"(threads_) : "memory");
  }

  // Negative behind the last turn.
  __device__ int64_t row_of(int i) const { return first - i * stride_; }
  __device__ int warps() const { return threads_ / 32; }
  // Values that the warps left in shared memory are combined by butterflies over fold() lanes, of which this lane takes that of warp
  // peer().
  __device__ int fold() const { return fold_; }
  __device__ int peer() const { return static_cast<int>(threadIdx.x) & (fold_ - 1); }

  int group, thread;
  int64_t first;

 private:
  int64_t stride_;
  uint32_t bytes_;
  int threads_, fold_ = 1;
  char* memory_;
  uint64_t* full_;
};

}  // namespace nemo::cuda

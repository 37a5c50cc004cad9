// Rows worked on by teams of warps. Vector k of a row (16 bytes) belongs to one lane: ((k warps + part) 32 + lane), where `part` is the
// warp's place in its team. A lane copies, reads and writes its own vectors only, so that nothing but the row's sums passes between lanes,
// and a team of one warp needs no barrier.
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

constexpr int kWarpVector = 512;  // bytes of one vector of every lane of a warp

struct TeamShape {
  int warps = 0;    // of a team; 0: rows are too long
  int vectors = 0;  // of a lane, at most: V of the kernel
  int teams = 0;    // of a block
  size_t shared_bytes = 0;
  unsigned grid = 0;
  int threads() const { return 32 * warps * teams; }
};

__device__ __forceinline__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// A lane's place.
struct TeamLane {
  int warp, lane, team, part;
  __device__ explicit TeamLane(int warps) : warp(static_cast<int>(threadIdx.x) / 32), lane(static_cast<int>(threadIdx.x) % 32) {
    team = warp / warps, part = warp % warps;
  }
};

// A barrier of the team's warps (more than one).
__device__ __forceinline__ void team_join(const TeamLane& at, int warps) {
  asm volatile("bar.sync %0, %1;" ::"r"(at.team + 1), "r"(warps * 32) : "memory");
}

// Copies 16 bytes, or writes 16 zeros. By the thread that reads them behind copies_wait, without a barrier.
__device__ __forceinline__ void copy_async(uint32_t to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most kLeft of this thread's groups are under way.
template <int kLeft>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

__device__ __forceinline__ uint4 read_shared(uint32_t at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
  return v;
}
template <class T>
__device__ __forceinline__ void spread(const uint4& v, float (&x)[kLanes<T>]) {
  if constexpr (sizeof(T) == 4) {
    x[0] = __uint_as_float(v.x), x[1] = __uint_as_float(v.y), x[2] = __uint_as_float(v.z), x[3] = __uint_as_float(v.w);
  } else {
    unpack<T>(v.x, x[0], x[1]);
    unpack<T>(v.y, x[2], x[3]);
    unpack<T>(v.z, x[4], x[5]);
    unpack<T>(v.w, x[6], x[7]);
  }
}
template <class T>
__device__ __forceinline__ uint4 gather(const float (&x)[kLanes<T>]) {
  if constexpr (sizeof(T) == 4)
    return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3]));
  else
    return make_uint4(pack<T>(x[0], x[1]), pack<T>(x[2], x[3]), pack<T>(x[4], x[5]), pack<T>(x[6], x[7]));
}

}  // namespace nemo::cuda

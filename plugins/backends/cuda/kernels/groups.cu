// The counting sort of groups.hpp in three kernels: counts of every block of rows, their running sums, and the places of the rows.
#include "groups.hpp"

#include "../mixture_fault.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kRows = 256, kWarps = kRows / 32, kScanWarps = 32;
constexpr int64_t kMostGroups = 1024;

struct Sort {
  const int32_t* ids;
  int64_t rows;
  int32_t first_expert, groups, blocks, tile_rows;
  int32_t* count;  // [groups][blocks]; behind scan_kernel: rows of the group in the blocks before
  GroupOrder::Lists lists;
  GroupOrder::More more;

  __device__ int group_of(int32_t id) const {
    const int e = id - first_expert;
    return e >= 0 && e < groups - 1 ? e : groups - 1;
  }
};

__global__ void __launch_bounds__(kRows) count_kernel(const Sort s) {
  extern __shared__ int32_t counts[];
  for (int g = static_cast<int>(threadIdx.x); g < s.groups; g += kRows) counts[g] = 0;
  __syncthreads();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x;
  if (i < s.rows) atomicAdd(&counts[s.group_of(s.ids[i])], 1);
  __syncthreads();
  for (int g = static_cast<int>(threadIdx.x); g < s.groups; g += kRows)
    s.count[static_cast<int64_t>(g) * s.blocks + blockIdx.x] = counts[g];
}

__device__ int warp_prefix(int x) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, x, step);
    if (lane >= step) x += other;
  }
  return x;
}

// One block: a warp per group over the blocks of rows, then the first warp over the groups.
__global__ void __launch_bounds__(32 * kScanWarps) scan_kernel(const Sort s) {
  __shared__ int32_t total[kMostGroups];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int g = warp; g < s.groups; g += kScanWarps) {
    int32_t* count = s.count + static_cast<int64_t>(g) * s.blocks;
    int before = 0;
    for (int b = 0; b < s.blocks; b += 32) {
      const int own = b + lane < s.blocks ? count[b + lane] : 0, sum = warp_prefix(own);
      if (b + lane < s.blocks) count[b + lane] = before + sum - own;
      before += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (lane == 0) total[g] = before;
  }
  __syncthreads();
  if (warp != 0) return;
  int rows = 0, tiles = 0;
  for (int g = 0; g < s.groups; g += 32) {
    const int own = g + lane < s.groups ? total[g + lane] : 0, own_tiles = (own + s.tile_rows - 1) / s.tile_rows;
    const int sum = warp_prefix(own), sum_tiles = warp_prefix(own_tiles);
    if (g + lane < s.groups) s.lists.first[g + lane] = rows + sum - own, s.lists.tile[g + lane] = tiles + sum_tiles - own_tiles;
    rows += __shfl_sync(0xffffffffu, sum, 31);
    tiles += __shfl_sync(0xffffffffu, sum_tiles, 31);
  }
  if (lane == 0) s.lists.first[s.groups] = rows, s.lists.tile[s.groups] = tiles;
}

__global__ void __launch_bounds__(kRows) place_kernel(const Sort s) {
  extern __shared__ int32_t counts[];  // [kWarps][groups]
  for (int i = static_cast<int>(threadIdx.x); i < kWarps * s.groups; i += kRows) counts[i] = 0;
  __syncthreads();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const bool here = i < s.rows;
  const int32_t id = here ? s.ids[i] : 0;
  const int g = s.group_of(id);
  const unsigned inside = __ballot_sync(0xffffffffu, here);
  int rank = 0;
  if (here) {
    const unsigned same = __match_any_sync(inside, g);
    rank = __popc(same & ((1u << lane) - 1));
    if (rank == 0) counts[warp * s.groups + g] = __popc(same);
  }
  __syncthreads();
  if (!here) return;
  for (int w = 0; w < warp; ++w) rank += counts[w * s.groups + g];
  const int32_t at = s.lists.first[g] + s.count[static_cast<int64_t>(g) * s.blocks + blockIdx.x] + rank;
  s.lists.order[at] = static_cast<int32_t>(i);
  if (s.more.slots != nullptr) s.more.slots[i] = at;
  if (s.more.ids != nullptr) s.more.ids[at] = id;
  if (s.more.fault != nullptr && g == s.groups - 1) *s.more.fault = static_cast<int>(kExpertFault);
}

int64_t blocks_of(int64_t rows) { return std::max<int64_t>(1, ceil_div(rows, kRows)); }
uint64_t list_bytes(int64_t n) { return align_up(static_cast<uint64_t>(n) * sizeof(int32_t)); }

}  // namespace

void GroupOrder::check(const Node& node) const {
  if (experts < 1 || groups() > kMostGroups) node.refuse("between 1 and " + std::to_string(kMostGroups - 1) + " experts have a kernel");
  if (rows > 0x3fffffff) node.refuse("more than 2^30 rows have no kernel");
}

uint64_t GroupOrder::workspace() const { return list_bytes(rows) + 2 * list_bytes(experts + 2) + list_bytes(groups() * blocks_of(rows)); }

GroupOrder::Lists GroupOrder::run(const int32_t* ids, void* workspace, const More& more, cudaStream_t stream) const {
  char* at = static_cast<char*>(workspace);
  const auto take = [&](int64_t n) {
    auto* list = reinterpret_cast<int32_t*>(at);
    at += list_bytes(n);
    return list;
  };
  const Lists lists{take(rows), take(experts + 2), take(experts + 2)};
  const int64_t blocks = blocks_of(rows);
  const Sort s{ids,
               rows,
               static_cast<int32_t>(first_expert),
               static_cast<int32_t>(groups()),
               static_cast<int32_t>(blocks),
               tile_rows,
               take(groups() * blocks),
               lists,
               more};
  const auto bytes = static_cast<size_t>(groups()) * sizeof(int32_t);
  count_kernel<<<static_cast<unsigned>(blocks), kRows, bytes, stream>>>(s);
  scan_kernel<<<1, 32 * kScanWarps, 0, stream>>>(s);
  place_kernel<<<static_cast<unsigned>(blocks), kRows, kWarps * bytes, stream>>>(s);
  return lists;
}

}  // namespace nemo::cuda

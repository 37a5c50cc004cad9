// libnccl opened at run time: the part of its C interface that this plugin calls, declared here so that building needs no NCCL headers.
#pragma once

#include <cuda_runtime_api.h>

#include <climits>
#include <cstddef>
#include <string>

namespace nemo::cuda {

struct Nccl {
  struct UniqueId {
    char bytes[128];
  };
  using Comm = struct ncclComm*;
  using Window = struct ncclWindow_vidmem*;
  static constexpr int kSymmetric = 1;  // NCCL_WIN_COLL_SYMMETRIC
  // The beginning of ncclConfig_t, as version 2.17 has it; newer libraries fill up the rest by themselves.
  struct Config {
    size_t size = sizeof(Config);
    unsigned int magic = 0xcafebeef, version = 21701;
    int blocking = kUndefined, cga_cluster_size = kUndefined, min_ctas = kUndefined, max_ctas = kUndefined;
    const char* net_name = nullptr;
    int split_share = kUndefined;
    static constexpr int kUndefined = INT_MIN;
  };
  // ncclDataType_t, ncclRedOp_t and ncclResult_t are enums with these values.
  enum DataType : int { kInt8 = 0, kUint8 = 1, kInt32 = 2, kInt64 = 4, kFloat16 = 6, kFloat32 = 7, kFloat64 = 8, kBfloat16 = 9 };
  enum RedOp : int { kSum = 0, kMax = 2 };

  int (*get_version)(int*) = nullptr;
  int (*get_unique_id)(UniqueId*) = nullptr;
  int (*comm_init_rank)(Comm*, int size, UniqueId, int rank) = nullptr;
  int (*comm_init_rank_config)(Comm*, int size, UniqueId, int rank, Config*) = nullptr;
  int (*comm_abort)(Comm) = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*all_reduce)(const void*, void*, size_t, int dtype, int op, Comm, cudaStream_t) = nullptr;
  int (*all_gather)(const void*, void*, size_t, int dtype, Comm, cudaStream_t) = nullptr;
  int (*reduce_scatter)(const void*, void*, size_t, int dtype, int op, Comm, cudaStream_t) = nullptr;
  int (*send)(const void*, size_t, int dtype, int peer, Comm, cudaStream_t) = nullptr;
  int (*receive)(void*, size_t, int dtype, int peer, Comm, cudaStream_t) = nullptr;
  // Of 2.27 and later; null in older ones.
  int (*mem_alloc)(void**, size_t) = nullptr;
  int (*mem_free)(void*) = nullptr;
  int (*window_register)(Comm, void*, size_t, Window*, int flags) = nullptr;
  int (*window_deregister)(Comm, Window) = nullptr;
  int (*all_to_all)(const void*, void*, size_t, int dtype, Comm, cudaStream_t) = nullptr;  // 2.28; elements to each rank
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;

  // Opens the library on the first call. Throws NOT_FOUND naming it where it cannot be opened or is too old.
  static const Nccl& get();
  bool has_windows() const { return mem_alloc != nullptr && mem_free != nullptr && window_register != nullptr; }
  // Throws PEER_FAILED naming `what` and NCCL's own words.
  void check(int status, const std::string& what) const;
};

}  // namespace nemo::cuda

// Device memory that other ranks of the host can write into, by NCCL's windows: what copy engines need (nemo/ext/collectives.h). Memory is
// allocated by each rank alone; a group registers it when its first collective writes there, which happens in one order on all members.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "nccl.hpp"

namespace nemo::cuda {

class Group;

class SharedMemory {
 public:
  // Memory that can be registered later. Throws OUT_OF_MEMORY.
  void* allocate(const Nccl& nccl, uint64_t bytes);
  // Whether the memory was such.
  bool release(void* memory);
  // Before a collective of the group writes at, or reads from, `at`, launched outside of a capture by every member: registers the memory
  // that it lies in where all members' have one size. Throws UNSUPPORTED where it lies elsewhere in another member's memory, whose data
  // would be written to a wrong place. Does nothing for other memory, in a capture, and from the second time on.
  void reach(const Group& group, const void* at, cudaStream_t stream);

 private:
  struct Block {
    const Nccl* nccl = nullptr;
    uint64_t bytes = 0;
    std::map<const Group*, Nccl::Window> windows;  // null: the members' sizes differ
  };
  std::mutex mutex_;
  std::map<const char*, Block> blocks_;  // by first byte
  std::set<std::pair<const Group*, const void*>> reached_;
};

}  // namespace nemo::cuda

#include "shared_memory.hpp"

#include <algorithm>
#include <iterator>
#include <string>

#include "collectives.hpp"

namespace nemo::cuda {

void* SharedMemory::allocate(const Nccl& nccl, uint64_t bytes) {
  void* memory = nullptr;
  if (nccl.mem_alloc(&memory, bytes) != 0)
    throw sdk::Error(NEMO_CODE_OUT_OF_MEMORY, "cuda backend: NCCL cannot allocate " + std::to_string(bytes) + " bytes");
  const std::lock_guard lock(mutex_);
  blocks_[static_cast<const char*>(memory)] = {&nccl, bytes, {}};
  return memory;
}

bool SharedMemory::release(void* memory) {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(static_cast<const char*>(memory));
  if (found == blocks_.end()) return false;
  const Block& block = found->second;
  for (const auto& [group, window] : block.windows)
    if (window != nullptr) block.nccl->window_deregister(group->comm, window);
  block.nccl->mem_free(memory);
  std::erase_if(reached_, [&](const auto& r) {
    const auto* at = static_cast<const char*>(r.second);
    return at >= found->first && at < found->first + block.bytes;
  });
  blocks_.erase(found);
  return true;
}

void SharedMemory::reach(const Group& group, const void* at, cudaStream_t stream) {
  if (!group.has_engines()) return;
  const std::lock_guard lock(mutex_);
  if (reached_.contains({&group, at})) return;
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &capture), "state of a stream");
  if (capture != cudaStreamCaptureStatusNone) return;
  const auto* byte = static_cast<const char*>(at);
  const auto behind = blocks_.upper_bound(byte);
  const auto own = behind == blocks_.begin() ? blocks_.end() : std::prev(behind);
  const bool inside = own != blocks_.end() && byte < own->first + own->second.bytes;
  const std::string size = inside ? std::to_string(own->second.bytes) : "none", offset = inside ? std::to_string(byte - own->first) : "0";
  const std::vector<std::string> said = group.all_say(size + " " + offset);
  const bool one_size = inside && std::all_of(said.begin(), said.end(), [&](const std::string& s) { return s.starts_with(size + " "); });
  const bool one_place = std::all_of(said.begin(), said.end(), [&](const std::string& s) { return s == said.front(); });
  if (one_size && !one_place)
    throw sdk::Error(NEMO_CODE_UNSUPPORTED, "cuda backend: ranks of '" + group.name +
                                                "' keep a tensor at different places; backend.copy_engine = false does without windows");
  reached_.emplace(&group, at);
  if (inside && !own->second.windows.contains(&group))
    own->second.windows[&group] = one_size ? group.share(const_cast<char*>(own->first), own->second.bytes) : nullptr;
}

}  // namespace nemo::cuda

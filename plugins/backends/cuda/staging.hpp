// Copies between pageable host memory and the device through pinned buffers, ordered on the stream. A copy in returns when its bytes are in
// the pinned buffers; a copy out is complete after synchronize. Not thread-safe.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace nemo::cuda {

class Staging {
 public:
  Staging();
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  void copy_in(void* device, const void* host, uint64_t bytes, cudaStream_t stream);
  void copy_out(void* host, const void* device, uint64_t bytes, cudaStream_t stream);
  // Waits for the stream and hands out what copy_out left in the buffers.
  void synchronize(cudaStream_t stream);

 private:
  struct Slot {
    char* pinned = nullptr;
    cudaEvent_t done = nullptr;
    bool busy = false;
    void* host = nullptr;  // of a copy out that is not handed out yet
    uint64_t bytes = 0;
  };
  Slot& acquire();
  void finish(Slot& slot);

  std::vector<Slot> slots_;
  size_t next_ = 0;
};

}  // namespace nemo::cuda

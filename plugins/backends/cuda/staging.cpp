#include "staging.hpp"

#include <algorithm>
#include <cstring>

#include "kernel.hpp"

namespace nemo::cuda {

namespace {

constexpr size_t kSlots = 4;
constexpr uint64_t kSlotBytes = uint64_t{8} << 20;

}  // namespace

Staging::Staging() : slots_(kSlots) {
  for (Slot& s : slots_) {
    check(cudaMallocHost(reinterpret_cast<void**>(&s.pinned), kSlotBytes), "pinned staging memory");
    check(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming), "event");
  }
}

Staging::~Staging() {
  for (Slot& s : slots_) {
    if (s.done != nullptr) cudaEventDestroy(s.done);
    cudaFreeHost(s.pinned);
  }
}

void Staging::finish(Slot& s) {
  if (!s.busy) return;
  check(cudaEventSynchronize(s.done), "copy between host and device");
  if (s.host != nullptr) std::memcpy(s.host, s.pinned, s.bytes);
  s.host = nullptr;
  s.busy = false;
}

Staging::Slot& Staging::acquire() {
  Slot& s = slots_[next_];
  next_ = (next_ + 1) % slots_.size();
  finish(s);
  return s;
}

void Staging::copy_in(void* device, const void* host, uint64_t bytes, cudaStream_t stream) {
  for (uint64_t at = 0; at < bytes; at += kSlotBytes) {
    const uint64_t n = std::min(kSlotBytes, bytes - at);
    Slot& s = acquire();
    std::memcpy(s.pinned, static_cast<const char*>(host) + at, n);
    check(cudaMemcpyAsync(static_cast<char*>(device) + at, s.pinned, n, cudaMemcpyHostToDevice, stream), "copy to the device");
    check(cudaEventRecord(s.done, stream), "event");
    s.busy = true;
  }
}

void Staging::copy_out(void* host, const void* device, uint64_t bytes, cudaStream_t stream) {
  for (uint64_t at = 0; at < bytes; at += kSlotBytes) {
    const uint64_t n = std::min(kSlotBytes, bytes - at);
    Slot& s = acquire();
    check(cudaMemcpyAsync(s.pinned, static_cast<const char*>(device) + at, n, cudaMemcpyDeviceToHost, stream), "copy from the device");
    check(cudaEventRecord(s.done, stream), "event");
    s.busy = true;
    s.host = static_cast<char*>(host) + at;
    s.bytes = n;
  }
}

void Staging::synchronize(cudaStream_t stream) {
  check(cudaStreamSynchronize(stream), "synchronize");
  for (size_t i = 0; i < slots_.size(); ++i) finish(slots_[(next_ + i) % slots_.size()]);
}

}  // namespace nemo::cuda

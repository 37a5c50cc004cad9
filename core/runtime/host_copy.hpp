// core/runtime/host_copy.hpp - a snapshot's tensors in host memory, copied while the next step computes.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "core/runtime/snapshot.hpp"

namespace nemo::runtime {

// Parameters and optimizer state stay as they are until the next update, so that forward and backward of the next step can run beside the
// copy. Where the device copies by itself (nemo/ext/streams.h) it does so in a stream of its own, into page-locked memory, and the update
// waits there; on the CPU the thread that calls finish() copies, and the update waits for it. Elsewhere start() copies everything. The
// memory is kept for the next snapshot.
class HostCopy {
 public:
  explicit HostCopy(Device& device) : device_(device) {}  // borrowed
  HostCopy(const HostCopy&) = delete;
  HostCopy& operator=(const HostCopy&) = delete;

  // Takes the memory now rather than at the first start(). Throws nemo::Error(kOutOfMemory).
  void reserve(const Snapshot& snapshot);
  // Gives every tensor its place in host memory; what changes early is there when it returns. The last copy must be finished.
  void start(Snapshot& snapshot);
  // All tensors are there when it returns. [any-thread], once for each start()
  void finish();
  // What is enqueued from here on may change the state.
  void before_update();

 private:
  struct Piece {
    std::byte* to;
    const std::byte* from;
    size_t bytes;
  };
  [[nodiscard]] std::byte* memory() { return pinned_ ? pinned_.get() : plain_.get(); }

  Device& device_;
  Device::HostMemory pinned_{nullptr, {nullptr}};
  std::unique_ptr<std::byte[]> plain_;
  size_t capacity_ = 0;
  Event begin_, done_;
  std::vector<Piece> pieces_;  // for finish() to copy
  std::promise<void> copied_;
  std::future<void> pending_;  // of copied_; not valid: nothing to wait for
  bool enqueued_ = false;      // copies that no update has waited for
};

}  // namespace nemo::runtime

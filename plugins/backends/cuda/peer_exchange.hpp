// Parts of a tensor sent to the ranks that own them, by the devices' copy engines alone: each rank writes straight into the others' memory.
// Nothing waits for a multiprocessor, unlike a collective that copies a rank's own part too (a copy within a device is a kernel).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace nemo::cuda {

class Group;

class PeerExchange {
 public:
  // Collective: every member makes one of as many bytes, in the same order. Null on all members where one of them cannot reach another
  // (processes of several hosts, devices without peer access). Throws PEER_FAILED at the group's timeout.
  static std::unique_ptr<PeerExchange> open(const Group& group, uint64_t bytes);
  ~PeerExchange();
  PeerExchange(const PeerExchange&) = delete;
  PeerExchange& operator=(const PeerExchange&) = delete;

  [[nodiscard]] uint64_t bytes() const { return bytes_; }
  // x is [outer][ranks][row] bytes; behind this, part(p) has rank p's rows for this rank, [outer][row], for every other rank p. They stay
  // until the next exchange. Only enqueues, and can be captured: members enqueue their exchanges in one order, in one stream at a time.
  void run(const void* x, int64_t outer, int64_t row, cudaStream_t stream) const;
  const char* part(int rank, int64_t outer, int64_t row) const { return room_ + rank * outer * row; }

 private:
  explicit PeerExchange(const Group& group);
  bool allocate(uint64_t bytes);
  bool reach(const std::vector<std::string>& said);
  // Writes 1 to this rank's flag of the kind in every other rank, and waits for theirs, which become 0 again.
  void meet(int kind, cudaStream_t stream) const;

  const Group& group_;
  uint64_t bytes_ = 0;
  char* room_ = nullptr;       // then flags [2 kinds][ranks], then a constant 1
  std::vector<char*> rooms_;   // of every rank, as this process sees them
  std::vector<char*> mapped_;  // those that must be closed
};

}  // namespace nemo::cuda

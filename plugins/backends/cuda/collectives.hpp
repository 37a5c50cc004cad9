// The collective rows of nemo/ops.def through NCCL, and the groups of ranks that they run in (nemo/ext/collectives.h). They are enqueued on
// the launch's stream and can be captured.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernel.hpp"
#include "nccl.hpp"
#include "nemo/ext/collectives.h"
#include "shared_memory.hpp"

namespace nemo::cuda {

class PeerExchange;

// Settings of the backend for all groups.
struct Transport {
  int collective_sms = 0;      // multiprocessors that a collective may use; 0: as many as NCCL likes
  bool engines = false;        // parts move by the devices' copy engines where all members are processes of one host and NCCL can
  int64_t most_exchanged = 0;  // bytes of the largest reduction that moves so too
  bool peer_exchange = false;  // its parts by own copies, not NCCL's
};

// One axis' members and their communicator.
class Group {
 public:
  Group(const nemo_group& raw, const Nccl& nccl, const Transport& transport, SharedMemory& memory);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  const Nccl& nccl;
  std::string name;
  int rank = 0, size = 1;
  Nccl::Comm comm = nullptr;

  // What every member says, in the order of ranks; all members call it in the same order. Throws PEER_FAILED at the timeout.
  std::vector<std::string> all_say(const std::string& what) const;
  [[nodiscard]] bool has_engines() const { return engines_; }
  [[nodiscard]] int64_t most_exchanged() const { return most_exchanged_; }
  // What a collective that copy engines may run does first (SharedMemory::reach).
  void reach(const void* at, cudaStream_t stream) const { memory_.reach(*this, at, stream); }
  // Makes memory of this rank reachable for the others. Every member calls it with as many bytes. Null where NCCL does without.
  Nccl::Window share(void* memory, uint64_t bytes) const;
  // Room for what the others send, reachable for them: at least as much as the largest that was asked for, so only prepared kernels ask.
  // Every member asks in the same order.
  void make_room(uint64_t bytes) const;
  // Where parts move by own copies instead: after make_room, with at least that room; it stays.
  const PeerExchange* exchange() const { return peer_exchange_ && !exchanges_.empty() ? exchanges_.back().get() : nullptr; }
  char* room() const { return rooms_.empty() ? nullptr : static_cast<char*>(rooms_.back().memory); }

 private:
  [[nodiscard]] bool can_share() const;
  void warn(const std::string& why) const;  // by the first member
  struct Room {
    void* memory;
    uint64_t bytes;
    Nccl::Window window;
  };
  std::string key_;
  const nemo_store_api* store_api_;
  nemo_store* store_;
  int64_t timeout_ms_;
  SharedMemory& memory_;
  int64_t most_exchanged_;
  mutable bool peer_exchange_;
  bool engines_ = false;
  mutable int64_t said_ = 0;
  mutable std::vector<std::unique_ptr<PeerExchange>> exchanges_;
  mutable std::vector<Room> rooms_;  // growing; captured launches may still use earlier ones
};

class Groups {
 public:
  // Connects the members; the device must be current. Throws NOT_FOUND where there is no NCCL, PEER_FAILED where they cannot be reached.
  void join(const nemo_group& raw);
  const Group& find(const Node& node) const;
  [[nodiscard]] bool empty() const { return groups_.empty(); }
  Transport transport;

  // Memory that groups can register; null where there is no group with copy engines, or the memory is small.
  void* allocate_shared(uint64_t bytes);
  // Whether the memory was such.
  bool release_shared(void* memory) { return memory_->release(memory); }

 private:
  std::unique_ptr<SharedMemory> memory_ = std::make_unique<SharedMemory>();
  std::map<std::string, std::unique_ptr<Group>, std::less<>> groups_;
};

// True for rows with attribute `mesh` that move data.
bool is_collective(std::string_view op);
Prepared prepare_collective(std::string_view op, const Node& node, const Groups& groups);

const nemo_collectives_api& collectives_api();

}  // namespace nemo::cuda

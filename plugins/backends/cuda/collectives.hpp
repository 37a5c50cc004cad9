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

namespace nemo::cuda {

struct Group {
  // most_ctas: multiprocessors that a collective may use; 0: as many as NCCL likes.
  Group(const nemo_group& raw, const Nccl& nccl, int most_ctas);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  const Nccl& nccl;
  std::string name;
  int rank = 0, size = 1;
  Nccl::Comm comm = nullptr;
};

class Groups {
 public:
  // Connects the members; the device must be current. Throws NOT_FOUND where there is no NCCL, PEER_FAILED where they cannot be reached.
  void join(const nemo_group& raw);
  const Group& find(const Node& node) const;
  [[nodiscard]] bool empty() const { return groups_.empty(); }
  int collective_sms = 0;         // setting
  bool copies_by_engine = false;  // setting: gathers by the device's copy engines, between memory that all members have registered

  // Memory that members of every group can reach, in the same order and sizes on all of them; null where there is no group, the setting is
  // off, or the memory is small.
  void* allocate_shared(uint64_t bytes);
  // Whether the memory was such.
  bool release_shared(void* memory);

 private:
  std::map<std::string, std::unique_ptr<Group>, std::less<>> groups_;
  std::map<void*, std::vector<std::pair<Nccl::Comm, Nccl::Window>>> shared_;
};

// True for rows with attribute `mesh` that move data.
bool is_collective(std::string_view op);
Prepared prepare_collective(std::string_view op, const Node& node, const Groups& groups);

const nemo_collectives_api& collectives_api();

}  // namespace nemo::cuda

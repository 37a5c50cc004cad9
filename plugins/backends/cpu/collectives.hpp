// The collective rows of nemo/ops.def on the CPU, and the groups of ranks that they run in (nemo/ext/collectives.h).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "communicator.hpp"
#include "kernel.hpp"
#include "nemo/ext/collectives.h"

namespace nemo::cpu {

struct Group {
  std::string name;
  int rank = 0, size = 1;
  std::unique_ptr<Communicator> communicator;
};

class Groups {
 public:
  // Connects the members. Throws NOT_FOUND where Gloo is not installed, PEER_FAILED where they cannot be reached.
  void join(const nemo_group& raw);
  Group& find(const Node& node) const;

 private:
  std::map<std::string, std::unique_ptr<Group>, std::less<>> groups_;
};

// True for rows with attribute `mesh`.
bool is_collective(std::string_view op);
Prepared prepare_collective(std::string_view op, const Node& node, const Groups& groups);

// Throws PEER_FAILED where a communicator's answer is a fault.
void require(const char* fault, const Group& group);

// exchange.cpp
Prepared moe_exchange_plan(const Node& node, Group& group);
Prepared moe_exchange(const Node& node, Group& group);
Prepared moe_exchange_back(const Node& node, Group& group);

const nemo_collectives_api& collectives_api();

}  // namespace nemo::cpu

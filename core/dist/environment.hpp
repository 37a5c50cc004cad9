// core/dist/environment.hpp - which rank of which run this process is, as its launcher says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace nemo::dist {

struct Environment {
  int64_t rank = 0, world_size = 1;
  int64_t local_rank = 0, local_size = 1;  // among the ranks of this node
  std::string master_addr = "127.0.0.1";
  uint16_t master_port = 0;
  int store_fd = -1;          // rank 0 of our own launcher: the store's listening socket, already open
  bool own_launcher = false;  // the parent process is ours and reports who has ended
};

using Lookup = std::function<const char*(const char*)>;  // getenv

// RANK and WORLD_SIZE (torchrun's words), or Slurm's where srun has started this process; nothing where neither is there or the world is of
// size 1. LOCAL_RANK, MASTER_ADDR and MASTER_PORT may come from either. Throws nemo::Error(kConfig) naming the variable that is missing or
// wrong.
[[nodiscard]] std::optional<Environment> read_environment(const Lookup& lookup);

// The node among several whose ranks our own launcher is to start: NODE_RANK, MASTER_ADDR and MASTER_PORT are set, RANK is not.
struct Node {
  int64_t rank = 0;
  std::string master_addr;
  uint16_t master_port = 0;
};
[[nodiscard]] std::optional<Node> read_node(const Lookup& lookup);

// "node[03-06,9],login1" -> "node03".
[[nodiscard]] std::string first_host(const std::string& slurm_nodelist);

}  // namespace nemo::dist

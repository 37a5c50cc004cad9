// One opened CPU "device": thread pool, OpenBLAS, memory, and preparation of nodes.
#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "collectives.hpp"
#include "table.hpp"

struct nemo_backend {
  nemo_backend(nemo::cpu::Arch kernels, int threads);  // threads 0: all usable cores

  const nemo::cpu::Entry* find(std::string_view op) const { return nemo::cpu::find_entry(arch, op); }
  nemo::cpu::Prepared prepare(const nemo_node& node);
  void* allocate(uint64_t bytes, std::string_view tag);  // throws OUT_OF_MEMORY
  void release(void* memory);
  uint64_t overhead_bytes() const;

  nemo::cpu::Arch arch;
  std::string name;           // of the processor
  uint64_t memory_bytes = 0;  // of the machine
  nemo::cpu::Blas blas;
  nemo::cpu::Pool pool;
  nemo::cpu::Groups groups;

 private:
  std::mutex mutex_;
  std::unordered_map<void*, uint64_t> mapped_;  // bytes of each allocation
};

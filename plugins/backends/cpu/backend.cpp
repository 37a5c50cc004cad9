#include "backend.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "x86-64 processor";
}

// OpenBLAS' packing buffer per calling thread; 32 MiB of address space each, of which the kernels touch about this much.
constexpr uint64_t kBlasBytesPerThread = uint64_t{6} << 20;
constexpr uint64_t kLibraryBytes = uint64_t{16} << 20;  // code and tables of OpenBLAS and this plugin, as far as a run touches them

}  // namespace

nemo_backend::nemo_backend(nemo::cpu::Arch kernels, int threads)
    : arch(kernels), name(processor_name()), pool(threads > 0 ? threads : nemo::cpu::default_threads()) {
  memory_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t nemo_backend::overhead_bytes() const { return kLibraryBytes + kBlasBytesPerThread * static_cast<uint64_t>(pool.threads()); }

nemo::cpu::Prepared nemo_backend::prepare(const nemo_node& raw) {
  using nemo::sdk::Error;
  const std::string op = nemo::sdk::to_string(raw.op);
  const nemo::cpu::Entry* entry = find(op);
  if (entry == nullptr) throw Error(NEMO_CODE_UNSUPPORTED, "cpu backend: nemo/ops.def has no op " + op);
  const nemo::cpu::Node node(raw, entry->row, nemo::cpu::kDialect);
  if (nemo::cpu::is_collective(op)) return nemo::cpu::prepare_collective(op, node, groups);
  if (entry->prepare == nullptr) node.refuse("this backend has no kernel for it");
  nemo::cpu::Device device{blas, pool};
  nemo::cpu::Prepared prepared = entry->prepare(node, device);
  prepared.kernel->always_accumulates = node.has_attribute("accumulate") && node.integer("accumulate") != 0;
  return prepared;
}

void* nemo_backend::allocate(uint64_t bytes, std::string_view tag) {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t size = std::max<uint64_t>((bytes + page - 1) / page * page, page);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw nemo::sdk::Error(NEMO_CODE_OUT_OF_MEMORY, "cpu backend: cannot map " + std::to_string(bytes) + " bytes for " + std::string(tag) +
                                                        ": " + std::strerror(errno));
  madvise(memory, size, MADV_HUGEPAGE);
  const std::lock_guard lock(mutex_);
  mapped_[memory] = size;
  return memory;
}

void nemo_backend::release(void* memory) {
  if (memory == nullptr) return;
  const std::lock_guard lock(mutex_);
  const auto it = mapped_.find(memory);
  if (it == mapped_.end()) return;
  munmap(memory, it->second);
  mapped_.erase(it);
}

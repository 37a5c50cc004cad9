#include "nccl.hpp"

#include <dlfcn.h>

#include "nemo/cpp/core.hpp"

namespace nemo::cuda {

namespace {

constexpr const char* kName = "libnccl.so.2";
constexpr int kOldest = 21700;  // 2.17: bfloat16, most CTAs of a communicator

struct Opened {
  Nccl table;
  std::string missing;
};

template <class F>
void find(void* library, F& function, const char* name, std::string& missing) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr) missing = std::string(kName) + " has no function " + name;
}

Opened open_library() {
  Opened o;
  void* library = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = dlopen("/usr/local/cuda/lib64/libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    o.missing = std::string(kName) + " not found; several GPUs need NCCL: put its folder on LD_LIBRARY_PATH";
    return o;
  }
  find(library, o.table.get_version, "ncclGetVersion", o.missing);
  find(library, o.table.get_unique_id, "ncclGetUniqueId", o.missing);
  find(library, o.table.comm_init_rank, "ncclCommInitRank", o.missing);
  find(library, o.table.comm_init_rank_config, "ncclCommInitRankConfig", o.missing);
  find(library, o.table.comm_abort, "ncclCommAbort", o.missing);
  find(library, o.table.error_string, "ncclGetErrorString", o.missing);
  find(library, o.table.all_reduce, "ncclAllReduce", o.missing);
  find(library, o.table.all_gather, "ncclAllGather", o.missing);
  find(library, o.table.reduce_scatter, "ncclReduceScatter", o.missing);
  find(library, o.table.send, "ncclSend", o.missing);
  find(library, o.table.receive, "ncclRecv", o.missing);
  find(library, o.table.group_start, "ncclGroupStart", o.missing);
  find(library, o.table.group_end, "ncclGroupEnd", o.missing);
  std::string newer;
  find(library, o.table.mem_alloc, "ncclMemAlloc", newer);
  find(library, o.table.mem_free, "ncclMemFree", newer);
  find(library, o.table.window_register, "ncclCommWindowRegister", newer);
  find(library, o.table.window_deregister, "ncclCommWindowDeregister", newer);
  find(library, o.table.all_to_all, "ncclAlltoAll", newer);
  if (int version = 0; o.missing.empty() && (o.table.get_version(&version) != 0 || version < kOldest))
    o.missing =
        std::string(kName) + " is version " + std::to_string(version) + "; 2.17 (" + std::to_string(kOldest) + ") or newer is needed";
  return o;
}

}  // namespace

const Nccl& Nccl::get() {
  static const Opened opened = open_library();
  if (!opened.missing.empty()) throw sdk::Error(NEMO_CODE_NOT_FOUND, "cuda backend: " + opened.missing);
  return opened.table;
}

void Nccl::check(int status, const std::string& what) const {
  if (status != 0)
    throw sdk::Error(NEMO_CODE_PEER_FAILED, "cuda backend: " + what + ": NCCL: " + error_string(status) + " (NCCL_DEBUG=WARN tells more)");
}

}  // namespace nemo::cuda

#include "peer_exchange.hpp"

#include <cuda.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "collectives.hpp"

namespace nemo::cuda {

namespace {

constexpr uint64_t kFlagBytes = 4096;
enum Kind : int { kReady = 0, kDone = 1 };

// What a rank tells of its memory: same process: the address; other processes: a handle.
struct Offer {
  cudaIpcMemHandle_t handle;
  uint64_t pid;
  uint64_t address;
  int32_t ordinal;
  int32_t usable;
};

using BatchMemOp = CUresult (*)(CUstream, unsigned int, CUstreamBatchMemOpParams*, unsigned int);

// Of the driver, which this plugin does not link.
BatchMemOp batch_mem_op() {
  static const BatchMemOp found = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result{};
    constexpr unsigned kVersion = 11070;  // the form that can be captured everywhere
    if (cudaGetDriverEntryPointByVersion("cuStreamBatchMemOp", &entry, kVersion, cudaEnableDefault, &result) != cudaSuccess ||
        result != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      entry = nullptr;
    }
    return reinterpret_cast<BatchMemOp>(entry);
  }();
  return found;
}

}  // namespace

PeerExchange::PeerExchange(const Group& group) : group_(group), rooms_(static_cast<size_t>(group.size), nullptr) {}

PeerExchange::~PeerExchange() {
  for (char* m : mapped_) cudaIpcCloseMemHandle(m);
  cudaFree(room_);
}

bool PeerExchange::allocate(uint64_t bytes) {
  bytes_ = align_up(bytes);
  void* memory = nullptr;
  const bool good = batch_mem_op() != nullptr && cudaMalloc(&memory, bytes_ + kFlagBytes) == cudaSuccess;
  room_ = static_cast<char*>(memory);
  const uint32_t one = 1;
  if (good && cudaMemset(room_ + bytes_, 0, kFlagBytes) == cudaSuccess &&
      cudaMemcpy(room_ + bytes_ + kFlagBytes - sizeof one, &one, sizeof one, cudaMemcpyHostToDevice) == cudaSuccess &&
      cudaDeviceSynchronize() == cudaSuccess)
    return true;
  cudaGetLastError();
  return false;
}

bool PeerExchange::reach(const std::vector<std::string>& said) {
  for (int p = 0; p < group_.size; ++p) {
    Offer offer{};
    const std::string& text = said[static_cast<size_t>(p)];
    if (text.size() != sizeof offer) return false;
    std::memcpy(&offer, text.data(), sizeof offer);
    if (offer.usable == 0) return false;
    char*& room = rooms_[static_cast<size_t>(p)];
    if (p == group_.rank) {
      room = room_;
    } else if (offer.pid == static_cast<uint64_t>(getpid())) {
      const cudaError_t status = cudaDeviceEnablePeerAccess(offer.ordinal, 0);
      if (status != cudaSuccess && status != cudaErrorPeerAccessAlreadyEnabled) return false;
      room = reinterpret_cast<char*>(offer.address);
    } else {
      void* mapped = nullptr;
      if (cudaIpcOpenMemHandle(&mapped, offer.handle, cudaIpcMemLazyEnablePeerAccess) != cudaSuccess) return false;
      mapped_.push_back(room = static_cast<char*>(mapped));
    }
  }
  return true;
}

std::unique_ptr<PeerExchange> PeerExchange::open(const Group& group, uint64_t bytes) {
  if (static_cast<uint64_t>(group.size) * 2 * sizeof(uint32_t) + sizeof(uint32_t) > kFlagBytes) return nullptr;
  std::unique_ptr<PeerExchange> made(new PeerExchange(group));
  Offer offer{};
  offer.usable = made->allocate(bytes) ? 1 : 0;
  if (offer.usable != 0 && cudaIpcGetMemHandle(&offer.handle, made->room_) != cudaSuccess) offer.usable = 0;
  offer.pid = static_cast<uint64_t>(getpid());
  offer.address = reinterpret_cast<uint64_t>(made->room_);
  cudaGetDevice(&offer.ordinal);
  const bool reached = made->reach(group.all_say(std::string(reinterpret_cast<const char*>(&offer), sizeof offer)));
  cudaGetLastError();
  for (const std::string& word : group.all_say(reached ? "yes" : "no"))
    if (word != "yes") return nullptr;
  return made;
}

void PeerExchange::meet(int kind, cudaStream_t stream) const {
  const int n = group_.size;
  const auto flag = [&](char* room, int rank) { return room + bytes_ + (static_cast<size_t>(kind) * n + rank) * sizeof(uint32_t); };
  const char* one = room_ + bytes_ + kFlagBytes - sizeof(uint32_t);
  for (int step = 1; step < n; ++step) {
    const int p = (group_.rank + step) % n;
    check(cudaMemcpyAsync(flag(rooms_[static_cast<size_t>(p)], group_.rank), one, sizeof(uint32_t), cudaMemcpyDeviceToDevice, stream),
          "flag of an exchange");
  }
  std::vector<CUstreamBatchMemOpParams> ops;
  const auto add = [&](CUstreamBatchMemOpType type, int rank, uint32_t value, unsigned flags) {
    CUstreamBatchMemOpParams op{};
    const auto address = reinterpret_cast<CUdeviceptr>(flag(room_, rank));
    if (type == CU_STREAM_MEM_OP_WAIT_VALUE_32) {
      op.waitValue.operation = type, op.waitValue.address = address, op.waitValue.value = value, op.waitValue.flags = flags;
    } else {
      op.writeValue.operation = type, op.writeValue.address = address, op.writeValue.value = value, op.writeValue.flags = flags;
    }
    ops.push_back(op);
  };
  for (int p = 0; p < n; ++p)
    if (p != group_.rank) add(CU_STREAM_MEM_OP_WAIT_VALUE_32, p, 1, CU_STREAM_WAIT_VALUE_EQ);
  for (int p = 0; p < n; ++p)
    if (p != group_.rank) add(CU_STREAM_MEM_OP_WRITE_VALUE_32, p, 0, CU_STREAM_WRITE_VALUE_DEFAULT);
  if (batch_mem_op()(stream, static_cast<unsigned>(ops.size()), ops.data(), 0) != CUDA_SUCCESS)
    throw sdk::Error(NEMO_CODE_DEVICE_ERROR, "cuda backend: the streams of '" + group_.name + "' cannot wait for each other");
}

// A rank is ready once its stream has passed what read the last exchange; its flag for the next one can only come behind that, so one
// value of each flag is enough.
void PeerExchange::run(const void* x, int64_t outer, int64_t row, cudaStream_t stream) const {
  const int n = group_.size;
  meet(kReady, stream);
  for (int step = 1; step < n; ++step) {
    const int p = (group_.rank + step) % n;
    for (int64_t o = 0; o < outer; ++o)
      check(cudaMemcpyAsync(rooms_[static_cast<size_t>(p)] + (group_.rank * outer + o) * row,
                            static_cast<const char*>(x) + (o * n + p) * row, static_cast<size_t>(row), cudaMemcpyDeviceToDevice, stream),
            "exchange of parts");
  }
  meet(kDone, stream);
}

}  // namespace nemo::cuda

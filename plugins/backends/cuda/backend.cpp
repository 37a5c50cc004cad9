#include "backend.hpp"

#include "mixture_fault.hpp"

namespace nemo::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw sdk::Error(status == cudaErrorMemoryAllocation ? NEMO_CODE_OUT_OF_MEMORY : NEMO_CODE_DEVICE_ERROR,
                   std::string("cuda backend: ") + what + ": " + cudaGetErrorString(status));
}

namespace {

// cudaMalloc hands out whole pages of this size, several small allocations from one.
constexpr uint64_t kPage = uint64_t{2} << 20;

const char* text_of(Fault fault) {
  switch (fault) {
    case Fault::embedding_id:
      return "embedding: negative id";
    case Fault::label:
      return "cross_entropy: label is neither ignore_index nor within the vocabulary";
    default:
      break;
  }
  const char* text = mixture_text(fault);
  return text != nullptr ? text : "unknown fault in the data";
}

}  // namespace

}  // namespace nemo::cuda

nemo_backend::nemo_backend(int ordinal, nemo::cuda::Autotune autotune) {
  using nemo::cuda::check;
  device.ordinal = ordinal;
  make_current();
  size_t left = 0, total = 0;
  check(cudaMemGetInfo(&left, &total), "memory of the device");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal), "device properties");
  name = properties.name;
  memory_bytes = device.memory_bytes = total;
  device.multiprocessors = properties.multiProcessorCount;
  check(cudaStreamCreateWithFlags(&device.stream, cudaStreamNonBlocking), "stream");
  check(cudaHostAlloc(reinterpret_cast<void**>(&device.fault), sizeof(int), cudaHostAllocMapped), "fault word");
  *device.fault = 0;
  staging = std::make_unique<nemo::cuda::Staging>();
  gemm_ = std::make_unique<nemo::cuda::Gemm>(ordinal, device.stream, autotune);
  device.gemm = gemm_.get();
}

nemo_backend::~nemo_backend() {
  cudaSetDevice(device.ordinal);
  if (device.stream != nullptr) cudaStreamSynchronize(device.stream);
  for (auto at = allocated_.begin(); at != allocated_.end();) at = groups.release_shared(at->first) ? allocated_.erase(at) : std::next(at);
  groups = {};
  device.attention.reset();
  gemm_.reset();
  staging.reset();
  for (const auto& [memory, bytes] : allocated_) cudaFree(memory);
  cudaFreeHost(device.fault);
  if (device.stream != nullptr) cudaStreamDestroy(device.stream);
}

void nemo_backend::make_current() const { nemo::cuda::check(cudaSetDevice(device.ordinal), "cudaSetDevice"); }

uint64_t nemo_backend::overhead_bytes() const {
  make_current();
  size_t left = 0, total = 0;
  nemo::cuda::check(cudaMemGetInfo(&left, &total), "memory of the device");
  const std::lock_guard lock(mutex_);
  const uint64_t used = total - left;
  return used > allocated_bytes_ ? used - allocated_bytes_ : 0;
}

namespace {

// Attribute "beside" of any op (nemo/ext/streams.h).
bool is_beside_collective(const nemo_node& node) {
  for (uint64_t i = 0; i < node.n_attrs; ++i) {
    const auto& attr = *reinterpret_cast<const nemo_attr*>(reinterpret_cast<const char*>(node.attrs) + i * node.attr_stride);
    if (nemo::sdk::to_view(attr.name) == "beside") return attr.i != 0;
  }
  return false;
}

}  // namespace

nemo::cuda::Prepared nemo_backend::prepare(const nemo_node& raw) {
  using nemo::sdk::Error;
  make_current();
  const std::string op = nemo::sdk::to_string(raw.op);
  const nemo::cuda::Entry* entry = nemo::cuda::find_entry(op);
  if (entry == nullptr) throw Error(NEMO_CODE_UNSUPPORTED, "cuda backend: nemo/ops.def has no op " + op);
  const nemo::cuda::Node node(raw, entry->row, nemo::cuda::kDialect);
  const bool collective = nemo::cuda::is_collective(op);
  if (entry->prepare == nullptr && !collective) node.refuse("this backend has no kernel for it");
  const bool beside = !collective && groups.transport.collective_sms > 0 && !groups.empty() && is_beside_collective(raw);
  device.gemm->leave_room(beside ? device.multiprocessors - groups.transport.collective_sms : 0);
  nemo::cuda::Prepared prepared = collective ? nemo::cuda::prepare_collective(op, node, groups) : entry->prepare(node, device);
  prepared.kernel->device = &device;
  prepared.kernel->always_accumulates = node.has_attribute("accumulate") && node.integer("accumulate") != 0;
  return prepared;
}

void* nemo_backend::allocate(uint64_t bytes, std::string_view tag) {
  make_current();
  void* memory = groups.allocate_shared(bytes);
  if (const cudaError_t status = memory != nullptr ? cudaSuccess : cudaMalloc(&memory, bytes > 0 ? bytes : 1); status != cudaSuccess) {
    cudaGetLastError();
    size_t left = 0, total = 0;
    cudaMemGetInfo(&left, &total);
    throw nemo::sdk::Error(NEMO_CODE_OUT_OF_MEMORY, "cuda backend: cannot allocate " + std::to_string(bytes) + " bytes for " +
                                                        std::string(tag) + ": " + cudaGetErrorString(status) + "; " + std::to_string(left) +
                                                        " of " + std::to_string(total) + " bytes are free");
  }
  const std::lock_guard lock(mutex_);
  const uint64_t taken = bytes >= nemo::cuda::kPage ? (bytes + nemo::cuda::kPage - 1) / nemo::cuda::kPage * nemo::cuda::kPage : bytes;
  allocated_[memory] = taken;
  allocated_bytes_ += taken;
  return memory;
}

void nemo_backend::release(void* memory) {
  if (memory == nullptr) return;
  const std::lock_guard lock(mutex_);
  const auto found = allocated_.find(memory);
  if (found == allocated_.end()) return;
  allocated_bytes_ -= found->second;
  allocated_.erase(found);
  cudaSetDevice(device.ordinal);
  if (!groups.release_shared(memory)) cudaFree(memory);
}

void nemo_backend::synchronize(nemo_stream* stream) {
  make_current();
  staging->synchronize(stream_of(stream));
  const int found = *static_cast<volatile int*>(device.fault);
  if (found == 0) return;
  *device.fault = 0;
  throw nemo::sdk::Error(NEMO_CODE_INVALID_ARGUMENT,
                         std::string("cuda backend: ") + nemo::cuda::text_of(static_cast<nemo::cuda::Fault>(found)));
}

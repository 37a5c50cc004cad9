// One opened CUDA device: its stream, memory, matrix products, and preparation of nodes.
#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "collectives.hpp"
#include "gemm.hpp"
#include "staging.hpp"
#include "table.hpp"

struct nemo_backend {
  nemo_backend(int ordinal, nemo::cuda::Autotune autotune);
  ~nemo_backend();
  nemo_backend(const nemo_backend&) = delete;
  nemo_backend& operator=(const nemo_backend&) = delete;

  nemo::cuda::Prepared prepare(const nemo_node& node);
  void* allocate(uint64_t bytes, std::string_view tag);  // throws OUT_OF_MEMORY
  void release(void* memory);
  // Memory in use that was not allocated here: context, code and buffers of the libraries as loaded so far, other processes.
  uint64_t overhead_bytes() const;
  // Throws where the device failed, or a kernel found a fault in its data.
  void synchronize(nemo_stream* stream);
  void make_current() const;
  cudaStream_t stream_of(nemo_stream* s) const { return s != nullptr ? reinterpret_cast<cudaStream_t>(s) : device.stream; }

  nemo::cuda::Device device;
  nemo::cuda::Groups groups;
  std::string name;
  uint64_t memory_bytes = 0;
  std::unique_ptr<nemo::cuda::Staging> staging;

 private:
  std::unique_ptr<nemo::cuda::Gemm> gemm_;
  mutable std::mutex mutex_;
  std::unordered_map<void*, uint64_t> allocated_;  // and their bytes
  uint64_t allocated_bytes_ = 0;
};

// What the kernels of all families share: the prepared kernel, the launch arguments, the device's pool and BLAS.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "blas.hpp"
#include "dtype.hpp"
#include "nemo/backend.h"
#include "nemo/cpp/core.hpp"
#include "nemo/cpp/node.hpp"
#include "pool.hpp"

namespace nemo::cpu {

using sdk::Aligned;
using sdk::Matrix;
using sdk::Node;
using sdk::OpRow;
using sdk::Tensor;

struct Device {
  Blas& blas;
  Pool& pool;
};

enum class Write { overwrite, accumulate };

// The arguments of one launch.
class Launch {
 public:
  Launch(const nemo_launch& raw, Write write) : raw_(raw), write_(write) {}
  template <class T>
  const T* in(int i) const {
    return static_cast<const T*>(raw_.inputs[i]);
  }
  template <class T>
  T* out(int i) const {
    return static_cast<T*>(raw_.outputs[i]);
  }
  const void* in(int i) const { return raw_.inputs[i]; }
  void* out(int i) const { return raw_.outputs[i]; }
  // Of the outputs marked `+`.
  Write write() const { return write_; }
  // The workspace from byte `offset` on.
  template <class T>
  T* workspace(uint64_t offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(raw_.workspace) + offset);
  }

 private:
  const nemo_launch& raw_;
  Write write_;
};

}  // namespace nemo::cpu

// One prepared node. run throws sdk::Error only where the data is wrong (an id out of range).
struct nemo_kernel {
  virtual ~nemo_kernel() = default;
  virtual void run(const nemo::cpu::Launch&) const = 0;
  bool always_accumulates = false;  // attribute accumulate = 1
};

namespace nemo::cpu {

struct Prepared {
  std::unique_ptr<nemo_kernel> kernel;
  uint64_t workspace = 0;  // bytes
};

template <class F>
class BodyKernel final : public nemo_kernel {
 public:
  explicit BodyKernel(F body) : body_(std::move(body)) {}
  void run(const Launch& launch) const override { body_(launch); }

 private:
  F body_;
};

// body(const Launch&), called once per launch.
template <class F>
Prepared make_kernel(F body, uint64_t workspace = 0) {
  return {std::make_unique<BodyKernel<F>>(std::move(body)), workspace};
}

using Prepare = Prepared (*)(const Node&, Device&);

constexpr uint64_t align_up(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

// The first fault that threads find in data, reported after the parallel region.
class Fault {
 public:
  void report(int64_t at) {
    int64_t none = -1;
    at_.compare_exchange_strong(none, at);
  }
  void raise(const char* what) const {
    if (at_ >= 0)
      throw sdk::Error(NEMO_CODE_INVALID_ARGUMENT, std::string("cpu backend: ") + what + ", at element " + std::to_string(at_.load()));
  }

 private:
  std::atomic<int64_t> at_{-1};
};

}  // namespace nemo::cpu

// The CUDA backend opened through its C ABI, and single nodes run on it: the arrays travel to device memory and back.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "nemo/ext/graph_capture.h"
#include "tests/backend_cpu/device.hpp"

namespace nemo::backend_cuda {

using backend_cpu::Array;
using backend_cpu::Arrays;
using backend_cpu::Attrs;

enum class How { eager, replayed };

const nemo_backend_api& cuda_api();
// What the backends opened from now on have for a setting that is a number or a boolean.
void set_setting(const std::string& name, double value);
// Usable devices; where there is none, why.
int64_t device_count(std::string* reason);

class Gpu {
 public:
  // Device `ordinal`. `opened` is called before its memory is allocated.
  explicit Gpu(int64_t ordinal = 0, uint64_t arena_bytes = uint64_t{6} << 30, const std::function<void(const Gpu&)>& opened = {});
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  const nemo_backend_api& api() const { return cuda_api(); }
  nemo_backend* handle() const { return backend_; }

  // Prepares and launches one node; outputs are read and written. replayed: the launch is captured, then replayed on fresh data. Throws
  // std::runtime_error, also where the kernel wrote outside of its outputs and workspace.
  void run(const std::string& op, const Arrays& inputs, Arrays& outputs, const Attrs& attrs = {}, uint32_t flags = 0,
           How how = How::eager) const;
  // The same with output 0 in the memory of input `place`.
  Arrays run_in_place(const std::string& op, const Arrays& inputs, size_t place, Arrays outputs, const Attrs& attrs) const;

  // Seconds per launch: `launches` of them captured, replayed, timed around synchronize. Memory of shapes only, filled from `seed` values.
  double time(const std::string& op, const Arrays& inputs, const Arrays& outputs, const Attrs& attrs, uint32_t flags, int launches) const;

 private:
  class Prepared;
  nemo_backend* backend_ = nullptr;
  char* arena_ = nullptr;
  uint64_t arena_bytes_;
};

// Opened once per program; nullptr where there is no device.
const Gpu* gpu();

}  // namespace nemo::backend_cuda

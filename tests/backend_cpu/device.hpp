// The CPU backend opened through its C ABI, as the host opens it, and single nodes run on it.
#pragma once

#include <string>
#include <vector>

#include "nemo/cpp/graph.hpp"
#include "tests/backend_cpu/array.hpp"

namespace nemo::backend_cpu {

using Attrs = std::vector<sdk::Attr>;
using Arrays = std::vector<Array>;

class Device {
 public:
  explicit Device(int64_t threads, const std::string& kernels = "auto");  // threads 0: the backend's choice
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const nemo_backend_api& api() const { return *api_; }
  nemo_backend* handle() const { return backend_; }

  // Prepares and launches one node; outputs are read (accumulation, optimizer state) and written. Throws std::runtime_error.
  void run(const std::string& op, const Arrays& inputs, Arrays& outputs, const Attrs& attrs = {}, uint32_t flags = 0) const;
  // The same with fresh outputs like the given ones.
  Arrays apply(const std::string& op, const Arrays& inputs, Arrays outputs, const Attrs& attrs = {}) const;
  // The same with output 0 in the memory of input `place`.
  Arrays apply_in_place(const std::string& op, Arrays inputs, size_t place, Arrays outputs, const Attrs& attrs) const;

  // Seconds of the fastest of several launches.
  double time(const std::string& op, const Arrays& inputs, Arrays& outputs, const Attrs& attrs) const;

 private:
  class Prepared;
  const nemo_backend_api* api_ = nullptr;
  nemo_backend* backend_ = nullptr;
};

// Two threads; shared by the tests of a program.
const Device& device();

}  // namespace nemo::backend_cpu

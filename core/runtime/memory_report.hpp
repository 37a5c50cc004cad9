// core/runtime/memory_report.hpp - planned memory of one device by category, as shown by --dry-run and checked before anything is
// allocated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/passes/memory.hpp"

namespace nemo::runtime {

struct MemoryReport {
  struct Row {
    std::string name;
    int64_t bytes;
  };
  std::vector<Row> rows;
  std::vector<passes::LiveBuffer> at_peak;  // of the largest program
  int64_t device_bytes = 0;
  std::string device_name;

  [[nodiscard]] int64_t total() const;
  [[nodiscard]] bool fits() const { return total() <= device_bytes; }
};

// An aligned table with the largest activations at the peak and the verdict.
[[nodiscard]] std::string render(const MemoryReport& report);
[[nodiscard]] std::string gib(int64_t bytes);  // "12.34 GiB", "5.6 MiB"

}  // namespace nemo::runtime

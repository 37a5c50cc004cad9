#include "core/runtime/memory_report.hpp"

#include <algorithm>
#include <cstdio>

namespace nemo::runtime {
namespace {

std::string padded(const std::string& text, size_t width) {
  return text.size() >= width ? text : text + std::string(width - text.size(), ' ');
}
std::string right(const std::string& text, size_t width) {
  return text.size() >= width ? text : std::string(width - text.size(), ' ') + text;
}

}  // namespace

std::string gib(int64_t bytes) {
  char text[32];
  const auto b = static_cast<double>(bytes);
  if (b >= 1 << 30)
    std::snprintf(text, sizeof text, "%.2f GiB", b / (1 << 30));
  else if (b >= 1 << 20)
    std::snprintf(text, sizeof text, "%.2f MiB", b / (1 << 20));
  else
    std::snprintf(text, sizeof text, "%.1f KiB", b / 1024);
  return text;
}

int64_t MemoryReport::total() const {
  int64_t sum = 0;
  for (const Row& row : rows) sum += row.bytes;
  return sum;
}

std::string render(const MemoryReport& report) {
  std::string out = "memory plan for one device (" + report.device_name + ")\n";
  for (const MemoryReport::Row& row : report.rows)
    if (row.bytes > 0) out += "  " + padded(row.name, 28) + right(gib(row.bytes), 14) + "\n";
  out += "  " + padded("total", 28) + right(gib(report.total()), 14) + "\n";
  out +=
      "  " + padded("device memory", 28) + right(gib(report.device_bytes), 14) + "   " + (report.fits() ? "fits" : "DOES NOT FIT") + "\n";
  if (!report.at_peak.empty()) out += "largest activations at the peak\n";
  for (size_t i = 0; i < std::min<size_t>(report.at_peak.size(), 5); ++i) {
    const passes::LiveBuffer& b = report.at_peak[i];
    out += "  " + padded(b.op + (b.scope.empty() ? "" : " in " + b.scope), 44) + right(gib(b.bytes), 14) + "\n";
  }
  return out;
}

}  // namespace nemo::runtime

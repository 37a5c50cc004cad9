#include <algorithm>
#include <cstdio>

#include "core/runtime/profile.hpp"

namespace nemo::runtime {
namespace {

template <class... A>
std::string text(const char* format, A... values) {
  char line[256];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

std::string row_text(const ProfileRow& row, double whole) {
  std::string line = text("%-28s %6lld %10.3f %6.1f%%", row.op.c_str(), static_cast<long long>(row.launches), row.ms, 100 * row.ms / whole);
  line += row.flops > 0 ? text(" %10.1f", row.flops / row.ms * 1e-9) : text(" %10s", "");
  line += text(" %9.0f", row.bytes / row.ms * 1e-6);
  return line + (row.communicates ? "\n" : text(" %8.2f\n", row.ms > 0 ? row.ideal / row.ms : 0));
}

// What the step takes more than its computing kernels do alone.
double beyond_ms(const ProfileResult& r) { return r.step_ms - (r.kernel_ms() - r.communication_ms()); }

std::string whole(const ProfileResult& r) {
  std::string out = text("whole step %.3f ms = %.0f tokens/s, %.1f model TFLOP/s", r.step_ms, r.tokens / r.step_ms * 1e3,
                         r.model_flops / r.step_ms * 1e-9);
  if (r.ranks == 1) return out + text("; between kernels %.3f ms (%.2f %%)\n", beyond_ms(r), 100 * beyond_ms(r) / r.step_ms);
  out += text(" of this rank\n");
  return out + text("computation alone %.3f ms, communication alone %.3f ms; the step takes %.3f ms beyond computation (%.2f %%)\n",
                    r.kernel_ms() - r.communication_ms(), r.communication_ms(), beyond_ms(r), 100 * beyond_ms(r) / r.step_ms);
}

std::string gaps(const ProfileResult& r) {
  std::vector<std::pair<double, std::string>> gap;
  for (const ProfileRow& row : r.rows)
    if (!row.communicates) gap.emplace_back(row.ms - row.ideal, row.op);
  gap.emplace_back(beyond_ms(r), r.ranks > 1 ? "beyond computation" : "between kernels");
  std::sort(gap.rbegin(), gap.rend());
  std::string out = "largest gaps to the roofline:";
  for (size_t i = 0; i < std::min<size_t>(3, gap.size()); ++i)
    out +=
        text("%s %s %.3f ms (%.1f %% of the step)", i == 0 ? "" : ",", gap[i].second.c_str(), gap[i].first, 100 * gap[i].first / r.step_ms);
  return out + "\n";
}

}  // namespace

std::string render(const ProfileResult& r) {
  std::string out = text("profile of one step on %s: %lld micro-batches, %.0f tokens", r.device.c_str(),
                         static_cast<long long>(r.micro_batches), r.tokens);
  if (r.ranks > 1)
    out += text(" a rank; rank %lld of %lld, each collective in its place and waited for", static_cast<long long>(r.rank),
                static_cast<long long>(r.ranks));
  out += "\n";
  out += text("ceilings of this run: copy %.0f GB/s; product of %lld^3 %.1f TFLOP/s sustained, %.1f short\n", r.ceilings.copy * 1e-9,
              static_cast<long long>(r.ceilings.product_size), r.ceilings.product * 1e-12, r.ceilings.product_short * 1e-12);
  if (r.ceilings.narrow > 0) out += text("8-bit product %.1f TFLOP/s sustained\n", r.ceilings.narrow * 1e-12);
  out += text("%-28s %6s %10s %7s %10s %9s %8s\n", "op", "count", "ms", "share", "TFLOP/s", "GB/s", "ceiling");
  for (const ProfileRow& row : r.rows) out += row_text(row, r.kernel_ms());
  out += text("%-28s %6s %10.3f %7s %10s %9s %8.2f\n", "all kernels", "", r.kernel_ms(), "", "", "", r.ideal_ms() / r.kernel_ms());
  out += whole(r);
  out += text("roofline %.3f ms = %.0f tokens/s; the step reaches %.3f of it\n", r.ideal_ms(), r.tokens / r.ideal_ms() * 1e3,
              r.ideal_ms() / r.step_ms);
  out += gaps(r);
  if (r.measured_bytes > 0)
    out += text("device memory: planned %.3f GiB, measured %.3f GiB (%+.2f %%)\n", static_cast<double>(r.planned_bytes) / (1 << 30),
                static_cast<double>(r.measured_bytes) / (1 << 30),
                100 * (static_cast<double>(r.measured_bytes) / static_cast<double>(r.planned_bytes) - 1));
  return out;
}

}  // namespace nemo::runtime

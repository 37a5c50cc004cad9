// The report as text.
#include <algorithm>
#include <cstdio>

#include "core/planner/planner.hpp"

namespace nemo::planner {
namespace {

using runtime::gib;

template <class... T>
std::string format(const char* pattern, T... values) {
  char text[512];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

std::string grouped(double value) {
  const std::string digits = format("%.0f", value);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string duration(double seconds) {
  return seconds >= 1 ? format("%.2f s", seconds) : seconds >= 1e-3 ? format("%.2f ms", seconds * 1e3) : format("%.1f us", seconds * 1e6);
}

std::string head(const Report& r, const Hardware& h) {
  std::string mesh;
  for (const passes::MeshAxis& axis : r.mesh)
    if (axis.size > 1) mesh += (mesh.empty() ? "" : " x ") + axis.name + " " + std::to_string(axis.size);
  std::string out = "plan for " + std::to_string(r.world) + (r.world == 1 ? " device" : " devices") + " (" + h.name + ", " +
                    std::to_string(h.devices_per_node) + " a node)\n";
  out += "  model          " + grouped(static_cast<double>(r.parameters)) + " parameters\n";
  out += "  mesh           " + (mesh.empty() ? "one device" : mesh) + ", outermost first\n";
  if (!r.blocks.empty()) {
    const auto [least, most] = std::minmax_element(r.blocks.begin(), r.blocks.end());
    out += "  pipeline       " + std::to_string(r.pipeline_ranks) + " ranks x " + std::to_string(r.virtual_stages) + " virtual stages, " +
           std::to_string(*least) + (least == most || *least == *most ? "" : " to " + std::to_string(*most)) + " blocks each\n";
  }
  return out + "  step           " + grouped(r.tokens) + " tokens in " + std::to_string(r.micro_batches) + " micro-batches of each of " +
         std::to_string(r.data_ranks) + " data ranks\n";
}

std::string memory_table(const Report& r) {
  std::string out = "memory of one rank" + format("%12s", "");
  for (const Role& role : r.roles)
    out += format("%14s", r.roles.size() == 1 ? ""
                                              : ("stage " + std::to_string(role.first_rank) +
                                                 (role.first_rank == role.last_rank ? "" : "-" + std::to_string(role.last_rank)))
                                                    .c_str());
  out += "\n";
  const auto row = [&](const std::string& name, auto&& value) {
    out += format("  %-28s", name.c_str());
    for (const Role& role : r.roles) out += format("%14s", value(role).c_str());
    out += "\n";
  };
  for (size_t i = 0; i < r.roles[0].memory.rows.size(); ++i) {
    const bool any = std::any_of(r.roles.begin(), r.roles.end(), [&](const Role& role) { return role.memory.rows[i].bytes > 0; });
    if (any) row(r.roles[0].memory.rows[i].name, [&](const Role& role) { return gib(role.memory.rows[i].bytes); });
  }
  row("total", [](const Role& role) { return gib(role.memory.total()); });
  row("device", [](const Role& role) { return gib(role.memory.device_bytes); });
  row("", [](const Role& role) { return std::string(role.memory.fits() ? "fits" : "DOES NOT FIT"); });
  return out;
}

std::string traffic_table(const Report& r) {
  if (r.traffic.empty()) return "";
  std::string out = format("communication of a step%10s%8s%14s%12s%12s\n", "ranks", "nodes", "sent", "time", "not hidden");
  for (const Traffic& t : r.traffic)
    out += format("  %-21s%10lld%8lld%14s%12s%12s\n", t.axes.c_str(), static_cast<long long>(t.size), static_cast<long long>(t.nodes),
                  gib(static_cast<int64_t>(t.bytes)).c_str(), duration(t.seconds).c_str(), duration(t.exposed).c_str());
  return out;
}

std::string time_table(const Report& r) {
  const double step = r.step_seconds();
  std::string out = "time of a step\n";
  for (const auto& [name, seconds] : {std::pair{"computation", r.split.compute},
                                      {"communication not hidden", r.split.exposed},
                                      {"pipeline bubble", r.split.bubble},
                                      {"slowest device", r.split.spread},
                                      {"optimizer", r.split.optimizer},
                                      {"host", r.split.host}})
    if (seconds > 0) out += format("  %-28s%14s%9.1f %%\n", name, duration(seconds).c_str(), 100 * seconds / step);
  out += format("  %-28s%14s\n", "step", duration(step).c_str());
  if (!r.blocks.empty()) out += format("  %-28s%14.2f %%\n", "bubble over busy time", 100 * r.bubble);
  out += format("  %-28s%14s\n", "tokens/s per device", grouped(r.tokens_per_second_per_device()).c_str());
  return out + format("  %-28s%14.1f   MFU %.1f %% of %.0f (causal count)\n", "model TFLOP/s per device", r.flops_per_device() / 1e12,
                      100 * r.mfu(), r.peak_flops / 1e12);
}

std::string lines(const char* title, const std::vector<std::string>& texts) {
  std::string out = texts.empty() ? "" : std::string(title) + "\n";
  for (const std::string& t : texts) out += "  - " + t + "\n";
  return out;
}

}  // namespace

std::string render(const Report& report, const Hardware& hardware) {
  return head(report, hardware) + memory_table(report) + traffic_table(report) + time_table(report) + lines("warnings", report.warnings) +
         lines("assumptions", report.assumptions);
}

}  // namespace nemo::planner

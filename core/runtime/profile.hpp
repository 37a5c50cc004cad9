// core/runtime/profile.hpp - where a training step spends its time: per kind of op against the device's ceilings, and the whole step
// against its roofline. Of several ranks each times its own part; nothing is gathered.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/runtime/ceilings.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::runtime {

struct ProfileOptions {
  int64_t steps = 5;  // whole steps that are timed, after two that are not
  // A Chrome trace of a step's last micro-batch, in the streams in which it runs, and of the update is written there; of several ranks by
  // each, with ".rank3" in front of the extension.
  std::optional<std::filesystem::path> trace;
  bool ranges = false;  // named ranges around the launches of the traced step, for the vendor's profiler
};

// All launches of a step whose op has one name.
struct ProfileRow {
  std::string op;
  bool communicates = false;  // with other ranks: at the roofline that is hidden
  int64_t launches = 0;
  double ms = 0;     // of one step, each launch measured apart
  double ideal = 0;  // the same at the ceilings
  double flops = 0, bytes = 0;
};

struct ProfileResult {
  std::string device, recipe;
  Ceilings ceilings;
  std::vector<ProfileRow> rows;  // longest first
  double step_ms = 0;            // median of whole steps as the run makes them
  int64_t rank = 0, ranks = 1;
  double tokens = 0;       // of a step, masked ones included; this rank's share, of all ranks alike
  double model_flops = 0;  // of a step, the same
  int64_t micro_batches = 1;
  int64_t planned_bytes = 0, measured_bytes = 0;  // measured: 0 where the backend cannot tell

  [[nodiscard]] double kernel_ms() const;
  [[nodiscard]] double communication_ms() const;  // of kernel_ms
  [[nodiscard]] double ideal_ms() const;
};

// Makes the step of a recipe on random weights and the recipe's data, and times it. Writes no run folder. Called by all ranks of the
// context's world. Throws nemo::Error(kUnsupported) for pipeline stages.
[[nodiscard]] ProfileResult profile(const Setup& setup, const RunContext& context, const ProfileOptions& options);

// The table, the whole step against its roofline, and the three largest gaps.
[[nodiscard]] std::string render(const ProfileResult& result);

}  // namespace nemo::runtime

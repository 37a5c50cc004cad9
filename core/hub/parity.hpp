// core/hub/parity.hpp - one Hugging Face model folder against the outputs of a reference implementation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/hub/model_folder.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::hub {

struct ParityRow {
  std::string check;
  double worst = 0;      // in units of the tolerance: 1 is the bound
  std::string measured;  // in words and numbers
  bool ok = false;
};

struct ParityOptions {
  std::filesystem::path folder, golden;
  std::filesystem::path work;  // an existing folder for the checkpoint and the exported folder
  std::string recipe;          // as ImportOptions
  std::vector<std::string> overrides;
  std::string device = "trainer.accelerator=cpu";  // the setting that says what computes
};

// Imports the folder; then, in f32 on the device: logits and loss, the same with right padding, gradients and their norms, three AdamW
// steps, greedy tokens, and the export compared byte by byte. A check whose golden is absent has no row. Bounds are those of the fixtures'
// README.
[[nodiscard]] std::vector<ParityRow> parity(const ParityOptions& options, plugin::Registry& registry, const runtime::RunContext& context);

}  // namespace nemo::hub

// core/runtime/snapshot.hpp - the state of a run to and from a checkpoint.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/checkpoint/reader.hpp"
#include "core/checkpoint/store.hpp"
#include "core/checkpoint/writer.hpp"
#include "core/runtime/setup.hpp"
#include "core/runtime/state.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::runtime {

// Where a run stands besides its tensors.
struct Progress {
  int64_t step = 0;              // optimizer steps done
  int64_t consumed_samples = 0;  // of the training data
  int64_t seed = 0;              // of weights, data order and dropout
  std::map<std::string, double> metrics{};
};

// Writes <final_dir>: all tensors of the state under their parameter names, progress, recipe, tokenizer, plugins in use.
void save(const std::filesystem::path& final_dir, State& state, const Progress& progress, const Setup& setup,
          const text::Tokenizer* tokenizer, Device& device);

enum class Restore { kParameters, kEverything };

// Reads what `state` keeps (or the parameters only). Parameter names and shapes must be the model's.
Progress restore(const checkpoint::Reader& reader, State& state, Device& device, Restore what);

// The checkpoint that a path given by the user means: a checkpoint folder itself, or the newest of a run's folder. Its checksums have been
// verified; where it is damaged, the error names the file and the last good checkpoint.
[[nodiscard]] std::filesystem::path find_checkpoint(const std::filesystem::path& given);

}  // namespace nemo::runtime

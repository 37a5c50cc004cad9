// core/runtime/snapshot.hpp - the state of a run to and from a checkpoint.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "core/checkpoint/reader.hpp"
#include "core/checkpoint/store.hpp"
#include "core/checkpoint/writer.hpp"
#include "core/passes/memory.hpp"
#include "core/runtime/loss_scaler.hpp"
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
  std::optional<LossScaler::State> loss_scale{};  // where the precision scales the loss
};

// Named state of the programs (Graph::add_state) and its device memory. Saved but for names that start with "cache.".
struct KeptState {
  const passes::StateLayout* layout = nullptr;  // null: none
  std::byte* data = nullptr;
  const Ranks* ranks = nullptr;  // null: one rank
};

// What this rank writes of a checkpoint: on the device, or copied to the host.
struct Snapshot {
  struct Tensor {
    std::string group, name;
    nemo_dtype dtype = 0;
    std::vector<int64_t> shape;  // of the whole tensor
    std::vector<checkpoint::Box> boxes;
    const std::byte* device = nullptr;
    size_t bytes = 0;
    const std::byte* host = nullptr;  // NULL: still on the device
    bool changes_early = false;       // by the next launch of a program; the others stay as they are until the next update
  };
  std::filesystem::path final_dir;
  Progress progress;
  std::string recipe;
  std::vector<text::TokenizerFile> tokenizer;
  std::vector<checkpoint::PluginId> plugins;
  std::vector<Tensor> tensors;
};

// Copies nothing yet. Kept state is each rank's own, under names that say whose: see kept_names in the .cpp.
[[nodiscard]] Snapshot take_snapshot(const std::filesystem::path& final_dir, const State& state, const Ranks& ranks,
                                     const Progress& progress, const Setup& setup, const text::Tokenizer* tokenizer,
                                     const KeptState& kept = {});

// Writes <final_dir>: all tensors of the state under their parameter names, progress, recipe, tokenizer, plugins in use. All ranks call it;
// `store` is for their meetings, NULL where there is one rank. What is still on the device is copied tensor by tensor; with everything on
// the host, any thread may call it.
void write(const Snapshot& snapshot, Device& device, const Ranks& ranks, dist::StoreClient* store);

enum class Restore { kParameters, kEverything };

// Reads what `state` keeps (or the parameters only). Parameter names and shapes must be the model's.
// Kept state that the checkpoint does not have (the run had another precision) stays as it is.
Progress restore(const checkpoint::Reader& reader, State& state, Device& device, Restore what, const KeptState& kept = {});

// The checkpoint that a path given by the user means: a checkpoint folder itself, or the newest of a run's folder. Its checksums have been
// verified; where it is damaged, the error names the file and the last good checkpoint.
[[nodiscard]] std::filesystem::path find_checkpoint(const std::filesystem::path& given);

}  // namespace nemo::runtime

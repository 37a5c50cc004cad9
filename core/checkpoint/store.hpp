// core/checkpoint/store.hpp - the checkpoints of one run: <run>/checkpoints/step_00000200/ ...
//
// Threads: any; a Store keeps nothing but its path. Do not prune while another thread reads what may go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/manifest.hpp"
#include "core/checkpoint/reader.hpp"

namespace nemo::checkpoint {

// Checkpoint settings of the recipe that say what stays.
enum class Mode { kMin, kMax };
struct Retention {
  int64_t keep_top_k = -1;           // the best k; -1 keeps all
  std::string monitor = "val_loss";  // the metric in the manifest; checkpoints without it (or NaN) rank last, newer before older
  Mode mode = Mode::kMin;
  int64_t keep_last = 1;  // and the newest n, however they rank
};

struct Entry {
  int64_t step;
  std::filesystem::path path;
  Facts facts;
};

struct Damage {
  int64_t step;
  std::filesystem::path path;  // of the checkpoint
  std::string reason;          // names the file
};

// The newest checkpoint that can be read, and the damaged ones that are newer, newest first.
struct Survey {
  std::optional<Entry> good;
  std::vector<Damage> damaged;
};

class Store {
 public:
  explicit Store(std::filesystem::path directory) : directory_(std::move(directory)) {}

  // Where the checkpoint of a step belongs: give it to Writer.
  [[nodiscard]] std::filesystem::path path_of(int64_t step) const;
  // Complete checkpoints (manifest and file sizes), oldest first. A folder that does not exist is an empty store.
  [[nodiscard]] std::vector<Entry> list() const;
  // Goes down from the newest until one passes.
  [[nodiscard]] Survey survey(Verify depth = Verify::kChecksums) const;
  // The checkpoint to resume from: the newest; none in an empty store. If the newest is damaged this throws kDataLoss: the message says
  // which file is damaged and offers the last good checkpoint by path. It never falls back by itself: use survey() to decide otherwise.
  [[nodiscard]] std::optional<Entry> latest_good(Verify depth = Verify::kChecksums) const;
  // Removes what the rule does not keep (rename away, then delete) and returns it. Damaged checkpoints are neither counted nor removed.
  std::vector<Entry> prune(const Retention& rule) const;

 private:
  std::filesystem::path directory_;
};

}  // namespace nemo::checkpoint

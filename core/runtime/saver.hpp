// core/runtime/saver.hpp - writes checkpoints beside the training: the state is copied to the host, a thread of its own does the rest.
#pragma once

#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "core/runtime/snapshot.hpp"

namespace nemo::runtime {

class Saver {
 public:
  // Borrows both. `background`: save() returns once the state is copied; else once the checkpoint is visible.
  enum class Mode { kForeground, kBackground };
  Saver(Device& device, const Ranks& ranks, Mode mode);
  ~Saver();
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  // Waits for the save before, then takes over the snapshot. Throws what went wrong with either.
  void save(Snapshot snapshot);
  // The checkpoint that has become visible since the last call. Throws what went wrong.
  [[nodiscard]] std::optional<std::filesystem::path> finished();
  void wait();

 private:
  void run(const Snapshot& snapshot);
  Device& device_;
  const Ranks& ranks_;
  const Mode mode_;
  std::unique_ptr<dist::StoreClient> store_;  // NULL where there is one rank
  std::mutex mutex_;
  std::optional<std::filesystem::path> finished_;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace nemo::runtime

// core/runtime/saver.hpp - writes checkpoints beside the training: the state is copied to the host while the next step computes, a thread
// of its own does the rest.
#pragma once

#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "core/runtime/host_copy.hpp"
#include "core/runtime/snapshot.hpp"

namespace nemo::runtime {

class Saver {
 public:
  // Borrows both. In the background, save() returns at once, and whoever changes the state calls before_update() first; in the foreground
  // it returns once the checkpoint is visible.
  enum class Mode { kForeground, kBackground };
  Saver(Device& device, const Ranks& ranks, Mode mode);
  ~Saver();
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  // Waits for the save before, then takes over the snapshot. Throws what went wrong with either.
  void save(Snapshot snapshot);
  // Takes the host memory that saving in the background needs.
  void reserve(const Snapshot& snapshot);
  // What is enqueued from here on may change the state. Throws nothing of the save.
  void before_update();
  // The checkpoint that has become visible since the last call. Throws what went wrong.
  [[nodiscard]] std::optional<std::filesystem::path> finished();
  void wait();

 private:
  void run(const Snapshot& snapshot);
  Device& device_;
  const Ranks& ranks_;
  const Mode mode_;
  HostCopy copy_;
  std::unique_ptr<dist::StoreClient> store_;  // NULL where there is one rank
  std::mutex mutex_;
  std::optional<std::filesystem::path> finished_;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace nemo::runtime

// core/dist/world.hpp - this rank among the ranks of its run: the store, meetings, and the watch over the others.
//
// One thread of each rank tells rank 0 twice a second how far it is. Where a rank ends, fails or stalls, every other rank learns it with
// the next beat, and `on_failure` is called in that thread: the main thread may be stuck in a collective for ever. Nothing here costs more
// than O(ranks), on rank 0.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "core/dist/environment.hpp"
#include "core/dist/store_client.hpp"
#include "core/dist/store_server.hpp"

namespace nemo::dist {

struct WorldOptions {
  std::chrono::milliseconds patience = std::chrono::minutes(10);  // until all ranks are there
  std::chrono::milliseconds watchdog{0};                          // without any progress; 0: not watched
  std::function<void(const std::string& failure)> on_failure;     // [beat-thread]
};

class World {
 public:
  // Rank 0 opens the store; all ranks meet. Throws nemo::Error(kPeer) where that takes too long, naming the ranks that are missing.
  World(const Environment& environment, WorldOptions options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  [[nodiscard]] int64_t rank() const { return environment_.rank; }
  [[nodiscard]] int64_t size() const { return environment_.world_size; }
  [[nodiscard]] const Environment& environment() const { return environment_; }
  [[nodiscard]] StoreClient& store() { return *store_; }
  // A connection of its own, for a thread that must not wait for the main thread's requests.
  [[nodiscard]] std::unique_ptr<StoreClient> connect() const;

  // Waits for all ranks.
  void meet(const std::string& name) { meet(*store_, name); }
  void meet(StoreClient& store, const std::string& name) const;
  // Throws nemo::Error(kConfig) with the first line that differs where the ranks' texts are not equal.
  void require_agreement(const std::string& what, const std::string& text);

  // What this rank is doing, for the watchdog; `doing` must be a literal. Each call is progress. Any thread.
  void note(const char* doing, int64_t step);

  // Says that the run has failed for `message`, and waits a moment for the reason that the store knows: an earlier failure of another rank,
  // or this one. `follows`: the message is likely the echo of another rank's end, which is then waited for.
  [[nodiscard]] std::string fail(const std::string& message, bool follows);
  // The run is done: this rank may end without being missed.
  void finish();
  // Waits for all ranks at the end of the run, then finish(). Rank 0 may close the store while another rank still wakes up from that.
  void leave();

 private:
  void beat_until_done();
  Environment environment_;
  WorldOptions options_;
  std::unique_ptr<StoreServer> server_;
  std::unique_ptr<StoreClient> store_, pulse_;
  std::atomic<int64_t> progress_{0}, step_{0};
  std::atomic<const char*> doing_{"starting"};
  std::atomic<bool> leaving_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace nemo::dist

// core/dist/store_server.hpp - the rendezvous store of a run, served by one thread of rank 0.
//
// It keeps small values under keys, lets all ranks meet, and watches the members: a rank whose connection ends without a goodbye, or that
// makes no progress for `watchdog`, fails the run; every waiting and every later request is then answered with that failure. Memory is
// O(ranks + values kept); a meeting keeps at most two values.
#pragma once

#include <chrono>
#include <memory>
#include <thread>

#include "core/dist/socket.hpp"

namespace nemo::dist {

struct ServerOptions {
  int64_t world_size = 1;
  std::chrono::milliseconds watchdog{0};  // 0: progress is not watched
};

class StoreServer {
 public:
  // Serves `listener` until destroyed.
  StoreServer(Socket listener, const ServerOptions& options);
  ~StoreServer();
  StoreServer(const StoreServer&) = delete;
  StoreServer& operator=(const StoreServer&) = delete;
  [[nodiscard]] uint16_t port() const { return port_; }

 private:
  class Loop;
  uint16_t port_;
  Socket wake_;  // an eventfd: written to stop
  std::unique_ptr<Loop> loop_;
  std::thread thread_;
};

}  // namespace nemo::dist

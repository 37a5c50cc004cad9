// core/dist/store_client.hpp - one connection to the rendezvous store. Any thread; requests of one client wait for each other.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "core/dist/message.hpp"
#include "core/dist/socket.hpp"

namespace nemo::dist {

class StoreClient {
 public:
  // Throws nemo::Error(kPeer) where the store cannot be reached in time.
  StoreClient(const std::string& host, uint16_t port, std::chrono::milliseconds patience);

  void set(const std::string& key, const std::string& value);
  // Waits until somebody has set the key. kPeer at the timeout, naming the key.
  [[nodiscard]] std::string get(const std::string& key, std::chrono::milliseconds timeout);
  // Adds to a counter that starts at 0; returns the sum.
  int64_t add(const std::string& key, int64_t amount);
  // Waits until `members` ranks have come to `key`, which may be used again afterwards. False if their values differ; *difference is then
  // two of them, split by a 0 byte.
  [[nodiscard]] bool meet(const std::string& key, const std::string& value, int64_t members, std::chrono::milliseconds timeout,
                          std::string* difference);
  // Any request. A failed run is Status::kFailed, not an exception.
  [[nodiscard]] Reply ask(const Request& request, std::chrono::milliseconds timeout);

 private:
  Reply require(const Request& request, std::chrono::milliseconds timeout);
  std::mutex mutex_;
  Socket socket_;
};

}  // namespace nemo::dist

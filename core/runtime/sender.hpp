// core/runtime/sender.hpp - launches that may wait for another rank, on a thread of their own, in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace nemo::runtime {

using Ticket = uint64_t;  // 0: nothing to wait for

class Sender {
 public:
  Sender();
  // Waits for what is under way, drops the rest.
  ~Sender();
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  // Runs behind all enqueued before.
  [[nodiscard]] Ticket enqueue(std::function<void()> work);
  // Until it is done. Throws what a piece of work has thrown, then and ever after.
  void wait(Ticket ticket);
  void wait_all() { wait(last_); }

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  Ticket last_ = 0, done_ = 0;
  bool stop_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace nemo::runtime

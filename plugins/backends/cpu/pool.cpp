#include "pool.hpp"

#include <sched.h>

#include <immintrin.h>

#include <algorithm>
#include <cstdlib>

namespace nemo::cpu {

namespace {

// About 10 us before a futex sleep: kernels of one step follow each other closely, but a machine shared with others should get its cores
// back.
constexpr int kSpins = 400;

template <class Ready>
bool spin(const Ready& ready) {
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return true;
    _mm_pause();
  }
  return false;
}

}  // namespace

Pool::Pool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void Pool::start(const Job& job) {
  job_ = job;
  pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  job.call(job.body, 0);
  auto done = [&] { return pending_.load(std::memory_order_acquire) == 0; };
  while (!spin(done)) {
    const int left = pending_.load(std::memory_order_acquire);
    if (left != 0) pending_.wait(left, std::memory_order_acquire);
  }
}

void Pool::work(int index) {
  uint32_t seen = 0;
  while (true) {
    if (!spin([&] { return generation_.load(std::memory_order_acquire) != seen; })) generation_.wait(seen, std::memory_order_acquire);
    const uint32_t now = generation_.load(std::memory_order_acquire);
    if (now == seen) continue;
    seen = now;
    if (stop_) return;
    if (index < job_.parts) job_.call(job_.body, index);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
  }
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

int default_threads() {
  const char* ranks = std::getenv("LOCAL_WORLD_SIZE");
  return std::max(1, usable_cores() / std::max(1, ranks == nullptr ? 1 : std::atoi(ranks)));
}

}  // namespace nemo::cpu

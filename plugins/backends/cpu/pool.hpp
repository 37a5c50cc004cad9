// A small persistent thread pool with static partitions: which thread does which part follows from the sizes alone, so two runs give the
// same bits.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace nemo::cpu {

class Pool {
 public:
  explicit Pool(int threads);  // >= 1; the calling thread is one of them
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // body(part) for part in [0, parts), parts <= threads(), each on its own thread; returns when all are done. body must not throw.
  // One caller at a time; not from within a body.
  template <class F>
  void run(int parts, const F& body) {
    if (parts <= 1) return body(0);
    start({[](const void* f, int part) { (*static_cast<const F*>(f))(part); }, &body, parts});
  }

  // body(begin, end, part): [0, n) in at most threads() contiguous parts of at least `grain` elements.
  template <class F>
  void split(int64_t n, int64_t grain, const F& body) {
    const int64_t parts = parts_of(n, grain);
    run(static_cast<int>(parts), [&](int part) { body(n * part / parts, n * (part + 1) / parts, part); });
  }

  // body(task, part): tasks [0, n) dealt out in turn; `part` < threads() names private scratch memory.
  template <class F>
  void each(int64_t n, const F& body) {
    const int parts = static_cast<int>(std::clamp<int64_t>(n, 1, threads()));
    run(parts, [&](int part) {
      for (int64_t task = part; task < n; task += parts) body(task, part);
    });
  }

  // Number of parts that split makes.
  int64_t parts_of(int64_t n, int64_t grain) const { return std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, threads()); }

 private:
  struct Job {
    void (*call)(const void*, int) = nullptr;
    const void* body = nullptr;
    int parts = 0;
  };
  void start(const Job& job);
  void work(int index);

  Job job_;
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> pending_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

// Cores that this process may run on (sched affinity).
int usable_cores();
// usable_cores, shared with the other ranks of this node (LOCAL_WORLD_SIZE).
int default_threads();

}  // namespace nemo::cpu

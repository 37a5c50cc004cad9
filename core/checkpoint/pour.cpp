#include "core/checkpoint/pour.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <semaphore>
#include <thread>

namespace nemo::checkpoint {
namespace {

// A tensor of at most kAlone bytes is not worth a thread.
constexpr uint64_t kPage = 4096, kBlock = uint64_t{256} << 10, kAlone = uint64_t{4} << 20;
constexpr size_t kRing = 4;

struct Aligned {
  void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(kPage)); }
};

// Block after block of a tensor; the first is shorter, so that the others begin with a page.
class Blocks {
 public:
  Blocks(uint64_t bytes, uint64_t place)
      : bytes_(bytes), phase_(place % kPage), ring_(static_cast<std::byte*>(::operator new(kRing* kBlock, std::align_val_t(kPage)))) {}
  [[nodiscard]] size_t count() const { return (bytes_ + phase_ + kBlock - 1) / kBlock; }
  [[nodiscard]] uint64_t begin(size_t i) const { return i == 0 ? 0 : i * kBlock - phase_; }
  [[nodiscard]] std::span<std::byte> block(size_t i) const {
    const uint64_t end = std::min(bytes_, (i + 1) * kBlock - phase_);
    return {ring_.get() + i % kRing * kBlock + (i == 0 ? phase_ : 0), end - begin(i)};
  }

 private:
  uint64_t bytes_, phase_;
  std::unique_ptr<std::byte, Aligned> ring_;
};

// A thread makes blocks, the caller takes them; each waits for the other where the ring is full or empty.
class Pouring {
 public:
  Pouring(const Blocks& blocks, const Produce& produce, const Consume& consume) : blocks_(blocks), produce_(produce), consume_(consume) {}

  void run() {
    std::thread maker([this] { make(); });
    try {
      take();
    } catch (...) {
      stopped_ = true;
      free_.release();
      maker.join();
      throw;
    }
    maker.join();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void make() {
    try {
      for (size_t i = 0; i < blocks_.count(); ++i) {
        free_.acquire();
        if (stopped_) return;
        produce_(blocks_.begin(i), blocks_.block(i));
        full_.release();
      }
    } catch (...) {
      error_ = std::current_exception();
      stopped_ = true;
      full_.release();
    }
  }

  void take() {
    for (size_t i = 0; i < blocks_.count(); ++i) {
      full_.acquire();
      if (stopped_) return;
      consume_(blocks_.begin(i), blocks_.block(i));
      free_.release();
    }
  }

  const Blocks& blocks_;
  const Produce& produce_;
  const Consume& consume_;
  std::counting_semaphore<kRing + 1> free_{kRing}, full_{0};
  std::exception_ptr error_;          // of the maker's thread; read after it has ended
  std::atomic<bool> stopped_{false};  // one of the two has failed
};

}  // namespace

void pour(uint64_t bytes, uint64_t place, const Produce& produce, const Consume& consume) {
  if (bytes == 0) return;
  const Blocks blocks(bytes, place);
  if (bytes > kAlone) return Pouring(blocks, produce, consume).run();
  for (size_t i = 0; i < blocks.count(); ++i) {
    produce(blocks.begin(i), blocks.block(i));
    consume(blocks.begin(i), blocks.block(i));
  }
}

}  // namespace nemo::checkpoint

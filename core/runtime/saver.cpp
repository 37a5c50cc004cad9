#include "core/runtime/saver.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <utility>

namespace nemo::runtime {

Saver::Saver(Device& device, const Ranks& ranks, Mode mode) : device_(device), ranks_(ranks), mode_(mode), copy_(device) {
  if (ranks.world() != nullptr) store_ = ranks.world()->connect();
}

Saver::~Saver() {
  if (thread_.joinable()) thread_.join();
}

namespace {

// Where all cores compute, this thread takes what they leave. Linux counts niceness by thread.
void give_way() {
  constexpr int kNice = 10;
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
}

}  // namespace

void Saver::run(const Snapshot& snapshot) {
  try {
    if (mode_ == Mode::kBackground) give_way(), copy_.finish();
    write(snapshot, device_, ranks_, store_.get());
    const std::lock_guard lock(mutex_);
    finished_ = snapshot.final_dir;
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
}

void Saver::save(Snapshot snapshot) {
  wait();
  if (mode_ == Mode::kForeground) return run(snapshot);
  copy_.start(snapshot);
  thread_ = std::thread([this, taken = std::move(snapshot)] { run(taken); });
}

void Saver::reserve(const Snapshot& snapshot) {
  if (mode_ == Mode::kBackground) copy_.reserve(snapshot);
}

void Saver::before_update() {
  if (mode_ == Mode::kBackground) copy_.before_update();
}

std::optional<std::filesystem::path> Saver::finished() {
  const std::lock_guard lock(mutex_);
  if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
  return std::exchange(finished_, std::nullopt);
}

void Saver::wait() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace nemo::runtime

#include "core/runtime/host_copy.hpp"

#include <cstring>
#include <utility>

namespace nemo::runtime {

namespace {

constexpr size_t kAlignment = 256;

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void HostCopy::reserve(const Snapshot& snapshot) {
  size_t bytes = 0;
  for (const Snapshot::Tensor& t : snapshot.tensors) bytes += padded(t.bytes);
  if (bytes <= capacity_) return;
  pinned_.reset();
  plain_.reset();
  if (device_.can_copy_beside())
    pinned_ = device_.allocate_host(static_cast<int64_t>(bytes));
  else
    plain_.reset(new std::byte[bytes]);
  capacity_ = bytes;
}

void HostCopy::start(Snapshot& snapshot) {
  reserve(snapshot);
  if (pinned_ && !begin_) begin_ = device_.make_event(), done_ = device_.make_event();
  if (pinned_) device_.record(begin_, nullptr), device_.wait(begin_, device_.copy_stream());
  std::byte* to = memory();
  for (Snapshot::Tensor& t : snapshot.tensors) {
    t.host = to;
    if (t.bytes == 0) continue;
    if (t.changes_early || (!pinned_ && !device_.is_cpu()))
      device_.copy_out(to, t.device, static_cast<int64_t>(t.bytes));
    else if (pinned_)
      device_.copy_beside(to, t.device, static_cast<int64_t>(t.bytes));
    else
      pieces_.push_back({to, t.device, t.bytes});
    to += padded(t.bytes);
  }
  if (pinned_) device_.record(done_, device_.copy_stream()), enqueued_ = true;
  copied_ = {};
  pending_ = copied_.get_future();
}

void HostCopy::finish() {
  if (pinned_) device_.finish(done_);
  for (const Piece& p : pieces_) std::memcpy(p.to, p.from, p.bytes);
  pieces_.clear();
  copied_.set_value();
}

void HostCopy::before_update() {
  if (std::exchange(enqueued_, false))
    device_.wait(done_, nullptr);
  else if (!pinned_ && pending_.valid())
    pending_.get();
}

}  // namespace nemo::runtime

// core/text/id_buffer.hpp - collects ids and hands them on in large pieces, so that encoding a long text needs little memory.
#pragma once

#include <vector>

#include "core/text/tokenizer.hpp"

namespace nemo::text {

// Not thread-safe. The owner calls flush() at the end; ids still held when an exception passes are dropped.
class IdBuffer {
 public:
  explicit IdBuffer(const IdSink& sink) : sink_(sink) { ids_.reserve(kPiece); }
  void push(int32_t id) {
    ids_.push_back(id);
    if (ids_.size() == kPiece) flush();
  }
  void push(std::span<const int32_t> ids) {
    for (const int32_t id : ids) push(id);
  }
  void flush() {
    if (!ids_.empty()) sink_(ids_);
    ids_.clear();
  }

 private:
  static constexpr size_t kPiece = 1 << 14;
  const IdSink& sink_;
  std::vector<int32_t> ids_;
};

}  // namespace nemo::text

// core/text/hf/byte_trie.hpp - a set of byte strings with values, searched for all members that a text starts with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nemo::text::hf {

// Filled, then read by any thread.
class ByteTrie {
 public:
  ByteTrie() { grow(); }

  // A key that was added before gets the new value (>= 0). Keys are not empty.
  void add(std::string_view key, int32_t value) {
    uint32_t node = 0;
    for (const char c : key) node = child_or_new(node, static_cast<uint8_t>(c));
    values_[node] = value;
  }

  // Calls f(length, value) for each key that text starts with, shortest first.
  template <class F>
  void prefixes(std::string_view text, F&& f) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (values_[node] >= 0) f(i + 1, values_[node]);
    }
  }

 private:
  struct Edge {
    uint64_t key = 0;  // parent << 8 | byte, plus 1
    uint32_t child = 0;
  };
  [[nodiscard]] size_t slot(uint64_t key) const { return static_cast<size_t>((key * 0x9e3779b97f4a7c15u) >> shift_); }
  [[nodiscard]] uint32_t child(uint32_t node, uint8_t byte) const {
    const uint64_t key = (static_cast<uint64_t>(node) << 8 | byte) + 1;
    for (size_t i = slot(key);; i = (i + 1) & (edges_.size() - 1)) {
      if (edges_[i].key == key) return edges_[i].child;
      if (edges_[i].key == 0) return 0;
    }
  }
  uint32_t child_or_new(uint32_t node, uint8_t byte) {
    if (const uint32_t found = child(node, byte)) return found;
    if (2 * values_.size() >= edges_.size()) grow();
    const auto made = static_cast<uint32_t>(values_.size());
    values_.push_back(-1);
    put({(static_cast<uint64_t>(node) << 8 | byte) + 1, made});
    return made;
  }
  void put(Edge edge) {
    size_t i = slot(edge.key);
    while (edges_[i].key != 0) i = (i + 1) & (edges_.size() - 1);
    edges_[i] = edge;
  }
  void grow() {
    std::vector<Edge> old(size_t{1} << ++bits_);
    old.swap(edges_);
    shift_ = 64 - bits_;
    for (const Edge& e : old)
      if (e.key != 0) put(e);
  }

  int bits_ = 9, shift_ = 64;
  std::vector<Edge> edges_;
  std::vector<int32_t> values_ = {-1};  // by node; 0 is the root
};

}  // namespace nemo::text::hf

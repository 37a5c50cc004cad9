// core/text/byte_pair.hpp - byte-pair encoding of one word (Sennrich et al., arXiv:1508.07909; over bytes as in GPT-2).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace nemo::text {

struct Merge {
  int32_t left = 0, right = 0, result = 0;
};

// Immutable after construction; any thread.
class BytePairMerger {
 public:
  // byte_ids: the token of each byte. merges: best first, without repeats.
  BytePairMerger(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges);

  // Appends the ids of the word: always the best-ranked adjacent pair is merged next, the leftmost of equals. O(n log n).
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  struct Target {
    int32_t rank, result;
  };
  struct PairHash {
    size_t operator()(uint64_t pair) const { return static_cast<size_t>((pair ^ (pair >> 29)) * 0x9e3779b97f4a7c15u >> 13); }
  };
  [[nodiscard]] const Target* find(int32_t left, int32_t right) const;

  std::array<int32_t, 256> byte_ids_;
  std::unordered_map<uint64_t, Target, PairHash> targets_;
};

}  // namespace nemo::text

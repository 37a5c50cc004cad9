// core/text/hf/word_cache.hpp - ids of pieces seen before. Text repeats itself: in English more than nine words of ten are found here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nemo::text::hf {

// Not thread-safe. Bounded: it forgets everything when it is full.
class WordCache {
 public:
  WordCache() : slots_(kSlots) {}

  // The ids of `word`; where it is new, those that compute(word, ids) appends. Valid until the next call.
  template <class Compute>
  std::span<const int32_t> get(std::string_view word, Compute&& compute) {
    if (word.size() > kLongest) {
      long_word_.clear();
      compute(word, long_word_);
      return long_word_;
    }
    const uint64_t hash = hash_of(word);
    size_t i = static_cast<size_t>(hash) & (kSlots - 1);
    for (; slots_[i].key_length != 0; i = (i + 1) & (kSlots - 1)) {
      const Slot& s = slots_[i];
      if (s.hash == static_cast<uint32_t>(hash >> 32) && s.key_length == word.size() &&
          std::memcmp(keys_.data() + s.key, word.data(), word.size()) == 0)
        return {ids_.data() + s.ids, s.count};
    }
    return put(i, hash, word, compute);
  }

 private:
  static constexpr size_t kSlots = 1 << 17, kLongest = 255;
  struct Slot {
    uint32_t hash = 0, key = 0, ids = 0;
    uint16_t key_length = 0, count = 0;
  };

  template <class Compute>
  std::span<const int32_t> put(size_t i, uint64_t hash, std::string_view word, Compute&& compute) {
    if (used_ >= kSlots / 2) {
      slots_.assign(kSlots, {});
      keys_.clear();
      ids_.clear();
      used_ = 0;
      i = static_cast<size_t>(hash) & (kSlots - 1);
    }
    const size_t at = ids_.size();
    compute(word, ids_);
    slots_[i] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(keys_.size()), static_cast<uint32_t>(at),
                 static_cast<uint16_t>(word.size()), static_cast<uint16_t>(ids_.size() - at)};
    keys_.append(word);
    ++used_;
    return std::span<const int32_t>(ids_).subspan(at);
  }

  static uint64_t load(const char* p, size_t n) {
    uint64_t v = 0;
    std::memcpy(&v, p, n);
    return v;
  }
  __extension__ typedef unsigned __int128 Wide;
  static uint64_t mix(uint64_t a, uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  static uint64_t hash_of(std::string_view w) {
    uint64_t h = 0x9e3779b97f4a7c15u ^ w.size();
    const char* p = w.data();
    size_t n = w.size();
    for (; n >= 8; p += 8, n -= 8) h = mix(h ^ load(p, 8), 0xa0761d6478bd642fu);
    // A fixed-size copy of what is left is faster than one of n bytes.
    uint64_t rest = 0;
    if (n >= 4)
      rest = load(p, 4) | load(p + n - 4, 4) << 32;
    else if (n > 0)
      rest = static_cast<uint8_t>(p[0]) | static_cast<uint64_t>(static_cast<uint8_t>(p[n / 2])) << 8 |
             static_cast<uint64_t>(static_cast<uint8_t>(p[n - 1])) << 16;
    return mix(h ^ rest, 0xe7037ed1a0b428dbu);
  }

  std::vector<Slot> slots_;
  std::string keys_;
  std::vector<int32_t> ids_, long_word_;
  size_t used_ = 0;
};

}  // namespace nemo::text::hf

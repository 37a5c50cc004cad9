#include "text_source.hpp"

#include "nemo/cpp/permutation.hpp"

namespace nemo::text_data {

TextSource::TextSource(TokenRow row, int64_t begin, int64_t end, int64_t seq_length, Sampling sampling, uint64_t key)
    : row_(std::move(row)),
      begin_(begin),
      end_(end),
      seq_(seq_length),
      windows_((end - begin - 1) / seq_length),
      sampling_(sampling),
      key_(key) {}

int64_t TextSource::offset_of(int64_t index) const {
  const int64_t epoch = index / windows_, window = index % windows_;
  switch (sampling_) {
    case Sampling::kInOrder:
      return window * seq_;
    case Sampling::kShuffledWindows: {
      const sdk::Permutation order(static_cast<uint64_t>(windows_), sdk::counter_random(key_, static_cast<uint64_t>(epoch)));
      return static_cast<int64_t>(order(static_cast<uint64_t>(window))) * seq_;
    }
    case Sampling::kRandom:
      return static_cast<int64_t>(
          sdk::bounded(sdk::counter_random(key_, static_cast<uint64_t>(index)), static_cast<uint64_t>(end_ - begin_ - seq_)));
  }
  return 0;
}

void TextSource::read(int64_t index, const sdk::SampleRow& out) const {
  const int64_t at = begin_ + offset_of(index);
  if (out.tokens != nullptr) row_.copy(at, seq_, out.tokens);
  if (out.labels != nullptr) row_.copy(at + 1, seq_, out.labels);
  for (int64_t j = 0; j < seq_; ++j) {
    if (out.positions != nullptr) out.positions[j] = static_cast<int32_t>(j);
    if (out.segments != nullptr) out.segments[j] = 0;
  }
}

}  // namespace nemo::text_data

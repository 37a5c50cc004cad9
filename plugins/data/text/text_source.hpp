// plugins/data/text/text_source.hpp - windows of a row of tokens as samples.
#pragma once

#include "documents.hpp"
#include "nemo/cpp/data.hpp"

namespace nemo::text_data {

enum class Sampling {
  kInOrder,          // window i is sample i
  kShuffledWindows,  // each epoch visits every window once, in an order drawn from (key, epoch)
  kRandom,           // sample i starts anywhere, drawn from (key, i); endless
};

// Windows of seq_length + 1 tokens, seq_length apart, of tokens [begin, end): tokens are the first seq_length, labels the last.
class TextSource final : public sdk::SampleSource {
 public:
  // Requires end - begin > seq_length.
  TextSource(TokenRow row, int64_t begin, int64_t end, int64_t seq_length, Sampling sampling, uint64_t key);

  int64_t num_samples() const override { return sampling_ == Sampling::kRandom ? -1 : windows_; }
  void read(int64_t index, const sdk::SampleRow& out) const override;

 private:
  [[nodiscard]] int64_t offset_of(int64_t index) const;

  TokenRow row_;
  int64_t begin_, end_, seq_, windows_;
  Sampling sampling_;
  uint64_t key_;
};

}  // namespace nemo::text_data

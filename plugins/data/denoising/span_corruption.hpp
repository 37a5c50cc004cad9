// plugins/data/denoising/span_corruption.hpp - T5's pretraining task: spans of a text are replaced by sentinels, and the decoder writes the
// sentinels with what they stand for. Raffel et al. 2020, section 3.1.4.
#pragma once

#include <memory>

#include "corpus.hpp"

namespace nemo::denoising {

// Lengths of one sample. `text` tokens of which `noise` fall out in `spans` pieces; the encoder reads text - noise + spans + 1 tokens, the
// decoder writes noise + spans + 1, the last one being the end of text.
struct SpanSizes {
  int64_t text = 0, noise = 0, spans = 0;
  [[nodiscard]] int64_t encoder() const { return text - noise + spans + 1; }
  [[nodiscard]] int64_t decoder() const { return noise + spans + 1; }
};
// Of a text of that length: noise = round(text * density), spans = round(noise / mean_span), each at least 1 where there is room.
[[nodiscard]] SpanSizes span_sizes(int64_t text, double density, double mean_span);
// The longest text that an encoder of that length reads; text = 0 where there is none.
[[nodiscard]] SpanSizes longest_text(int64_t encoder_seq, double density, double mean_span);

struct SpanTask {
  SpanSizes sizes;
  int64_t seq = 0, encoder_seq = 0;  // columns of the fields
  int32_t pad = 0, end = 0;          // pad also begins the decoder's input
  std::vector<int32_t> sentinels;    // of span 0, 1, ...
};

// Sample i of a shuffled stream corrupts window perm(i) anew in every epoch; in order, window i always in the same way.
class SpanCorruption final : public sdk::SampleSource {
 public:
  // Windows of tokens [begin, end) of the corpus; requires at least one.
  SpanCorruption(std::shared_ptr<const Corpus> corpus, int64_t begin, int64_t end, SpanTask task, bool shuffled, uint64_t key);
  int64_t num_samples() const override { return windows_; }
  void read(int64_t index, const sdk::SampleRow& row) const override;

 private:
  std::shared_ptr<const Corpus> corpus_;
  int64_t begin_, windows_;
  SpanTask task_;
  bool shuffled_;
  uint64_t key_;
};

}  // namespace nemo::denoising

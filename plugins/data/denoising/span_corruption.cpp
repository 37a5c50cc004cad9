#include "span_corruption.hpp"

#include <algorithm>
#include <cmath>

#include "draws.hpp"
#include "nemo/cpp/permutation.hpp"

namespace nemo::denoising {
namespace {

// Half to even, as numpy rounds.
int64_t rounded(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

// `total` things in `parts` pieces of at least one, every such division equally likely: borders are parts - 1 of the total - 1 places
// between things (Floyd's choice of a random subset).
std::vector<int64_t> pieces(int64_t total, int64_t parts, Draws& draws) {
  std::vector<int64_t> borders;
  for (int64_t top = total - parts; top < total - 1; ++top) {
    const int64_t place = draws.below(top + 1);
    const bool taken = std::find(borders.begin(), borders.end(), place) != borders.end();
    borders.push_back(taken ? top : place);
  }
  std::sort(borders.begin(), borders.end());
  std::vector<int64_t> lengths;
  int64_t before = -1;
  for (const int64_t border : borders) lengths.push_back(border - before), before = border;
  lengths.push_back(total - 1 - before);
  return lengths;
}

// Writes up to `size` ids of a field, and `filler` behind those that were added.
class Column {
 public:
  Column(int32_t* at, int64_t size) : at_(at), left_(at == nullptr ? 0 : size) {}
  void add(int32_t id) {
    if (left_ > 0) *at_++ = id, --left_;
  }
  void fill(int32_t filler) {
    at_ = left_ > 0 ? std::fill_n(at_, left_, filler) : at_;
    left_ = 0;
  }

 private:
  int32_t* at_;
  int64_t left_;
};

}  // namespace

SpanSizes span_sizes(int64_t text, double density, double mean_span) {
  SpanSizes s;
  s.text = text;
  if (text < 2) return s;
  s.noise = std::clamp<int64_t>(rounded(static_cast<double>(text) * density), 1, text - 1);
  s.spans = std::clamp<int64_t>(rounded(static_cast<double>(s.noise) / mean_span), 1, std::min(s.noise, text - s.noise));
  return s;
}

SpanSizes longest_text(int64_t encoder_seq, double density, double mean_span) {
  SpanSizes best;
  for (int64_t text = 2;; ++text) {
    const SpanSizes s = span_sizes(text, density, mean_span);
    if (s.encoder() > encoder_seq) return best;
    best = s;
  }
}

SpanCorruption::SpanCorruption(std::shared_ptr<const Corpus> corpus, int64_t begin, int64_t end, SpanTask task, bool shuffled, uint64_t key)
    : corpus_(std::move(corpus)),
      begin_(begin),
      windows_((end - begin) / task.sizes.text),
      task_(std::move(task)),
      shuffled_(shuffled),
      key_(key) {}

void SpanCorruption::read(int64_t index, const sdk::SampleRow& row) const {
  int64_t window = index % windows_;
  if (shuffled_) {
    const auto epoch = static_cast<uint64_t>(index / windows_);
    window = static_cast<int64_t>(
        sdk::Permutation(static_cast<uint64_t>(windows_), sdk::counter_random(key_, epoch))(static_cast<uint64_t>(window)));
  }
  const SpanSizes& sizes = task_.sizes;
  std::vector<int32_t> text(static_cast<size_t>(sizes.text));
  corpus_->read(begin_ + window * sizes.text, sizes.text, text.data());
  Draws draws(~key_, shuffled_ ? index : window);
  const std::vector<int64_t> noise = pieces(sizes.noise, sizes.spans, draws), kept = pieces(sizes.text - sizes.noise, sizes.spans, draws);

  Column source(row.encoder_tokens, task_.encoder_seq), written(row.tokens, task_.seq), labels(row.labels, task_.seq);
  written.add(task_.pad);
  const auto write = [&](int32_t id) { written.add(id), labels.add(id); };
  const int32_t* at = text.data();
  for (size_t span = 0; span < noise.size(); ++span) {
    for (int64_t i = 0; i < kept[span]; ++i) source.add(*at++);
    source.add(task_.sentinels[span]);
    write(task_.sentinels[span]);
    for (int64_t i = 0; i < noise[span]; ++i) write(*at++);
  }
  source.add(task_.end);
  labels.add(task_.end);
  source.fill(task_.pad), written.fill(task_.pad), labels.fill(sdk::kIgnoredLabel);
  if (row.encoder_lengths != nullptr) *row.encoder_lengths = static_cast<int32_t>(sizes.encoder());
}

}  // namespace nemo::denoising

// plugins/data/denoising/masked_tokens.hpp - BERT's pretraining tasks: tokens are hidden and to be found again, and whether the second part
// follows the first. Devlin et al. 2019; the order of parts: Lan et al. 2020 (ALBERT).
#pragma once

#include <memory>

#include "corpus.hpp"
#include "draws.hpp"

namespace nemo::denoising {

enum class SentenceTask { kNone, kNext, kOrder };

struct MaskTask {
  int64_t seq = 0;      // columns of the fields
  double share = 0.15;  // of the tokens, that is to be found
  double masked = 0.8;  // of these, that become the mask; `random` of them become another token, the rest stays
  double random = 0.1;
  double short_share = 0.1;  // of the samples, that are cut at a random shorter length
  SentenceTask pairs = SentenceTask::kNext;
  int64_t vocabulary = 0;  // random tokens are below
  int32_t pad = 0, cls = 0, sep = 0, mask = 0;
  [[nodiscard]] int64_t specials() const { return pairs == SentenceTask::kNone ? 2 : 3; }
};

// Sentences [first, first + count) of a document, of which at most `target` tokens are taken; where there are no pairs, tokens [first,
// first + count) of the corpus.
struct Passage {
  int64_t document = 0, first = 0;
  int32_t count = 0, target = 0;
};

// [CLS] a [SEP] b [SEP], or [CLS] a [SEP]: passages go through documents from front to back. For pairs they are as many whole sentences as
// reach their length, else pieces of that length. Samples of a shuffled stream mask anew in every epoch; in order, passage i is always
// masked in the same way.
class MaskedTokens final : public sdk::SampleSource {
 public:
  // Documents [begin, end) of the corpus.
  MaskedTokens(std::shared_ptr<const Corpus> corpus, int64_t begin, int64_t end, MaskTask task, bool shuffled, uint64_t key);
  int64_t num_samples() const override { return static_cast<int64_t>(passages_.size()); }
  void read(int64_t index, const sdk::SampleRow& row) const override;

 private:
  struct Sample {
    std::vector<int32_t> tokens, types;
    bool other = false;  // the second part does not follow the first
  };
  void find_passages(int64_t document);
  [[nodiscard]] int32_t draw_target(Draws& draws) const;
  [[nodiscard]] std::vector<int32_t> part(int64_t first, int64_t count) const;
  [[nodiscard]] Sample assemble(int64_t passage, Draws& draws) const;
  [[nodiscard]] std::vector<int32_t> second_part(int64_t passage, int64_t from, Draws& draws, bool& other) const;

  std::shared_ptr<const Corpus> corpus_;
  MaskTask task_;
  bool shuffled_;
  uint64_t key_;
  std::vector<Passage> passages_;
};

}  // namespace nemo::denoising

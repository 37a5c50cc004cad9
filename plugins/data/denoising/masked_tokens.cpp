#include "masked_tokens.hpp"

#include <algorithm>
#include <cmath>

#include "nemo/cpp/permutation.hpp"

namespace nemo::denoising {
namespace {

// Cuts one token after the other off the longer part, at a random end, until both fit.
void fit(std::vector<int32_t>& a, std::vector<int32_t>& b, int64_t most, Draws& draws) {
  while (static_cast<int64_t>(a.size() + b.size()) > most) {
    std::vector<int32_t>& longer = a.size() > b.size() ? a : b;
    if (draws.below(2) == 0)
      longer.erase(longer.begin());
    else
      longer.pop_back();
  }
}

}  // namespace

MaskedTokens::MaskedTokens(std::shared_ptr<const Corpus> corpus, int64_t begin, int64_t end, MaskTask task, bool shuffled, uint64_t key)
    : corpus_(std::move(corpus)), task_(task), shuffled_(shuffled), key_(key) {
  for (int64_t document = begin; document < end; ++document) find_passages(document);
}

int32_t MaskedTokens::draw_target(Draws& draws) const {
  const auto longest = static_cast<int32_t>(task_.seq - task_.specials());
  return longest > 2 && draws.happens(task_.short_share) ? static_cast<int32_t>(2 + draws.below(longest - 1)) : longest;
}

// A document of one sentence has no second part: it is left out where parts are compared. One sentence is not left over for them.
void MaskedTokens::find_passages(int64_t document) {
  const int64_t last = corpus_->first_sentence(document + 1), least = 2;
  if (task_.pairs == SentenceTask::kNone) {
    const int64_t end = corpus_->first_token(last);
    for (int64_t from = corpus_->first_token(corpus_->first_sentence(document)); from < end; from += passages_.back().count) {
      Draws draws(key_, from);
      const int32_t target = draw_target(draws);
      passages_.push_back({document, from, static_cast<int32_t>(std::min<int64_t>(target, end - from)), target});
    }
    return;
  }
  for (int64_t first = corpus_->first_sentence(document); last - first >= least;) {
    Draws draws(key_, first);
    const int32_t target = draw_target(draws);
    int64_t end = first + least;
    while (end < last && (last - end < least || corpus_->first_token(end) - corpus_->first_token(first) < target)) ++end;
    passages_.push_back({document, first, static_cast<int32_t>(end - first), target});
    first = end;
  }
}

std::vector<int32_t> MaskedTokens::part(int64_t first, int64_t count) const {
  const int64_t from = corpus_->first_token(first);
  // More than fits is never needed, however long a sentence is.
  std::vector<int32_t> tokens(static_cast<size_t>(std::min(corpus_->first_token(first + count) - from, 2 * task_.seq)));
  corpus_->read(from, static_cast<int64_t>(tokens.size()), tokens.data());
  return tokens;
}

// Where the next sentences are asked for, half of the samples have those of another document instead (after ten vain draws, the next ones
// all the same).
std::vector<int32_t> MaskedTokens::second_part(int64_t passage, int64_t from, Draws& draws, bool& other) const {
  const Passage& own = passages_[static_cast<size_t>(passage)];
  other = draws.below(2) == 0;
  for (int tries = 0; other && task_.pairs == SentenceTask::kNext && tries < 10; ++tries) {
    const Passage& strange = passages_[static_cast<size_t>(draws.below(num_samples()))];
    if (strange.document == own.document) continue;
    const int64_t start = draws.below(strange.count);
    return part(strange.first + start, strange.count - start);
  }
  if (task_.pairs == SentenceTask::kNext) other = false;
  return part(own.first + from, own.count - from);
}

MaskedTokens::Sample MaskedTokens::assemble(int64_t passage, Draws& draws) const {
  const Passage& p = passages_[static_cast<size_t>(passage)];
  Sample out;
  std::vector<int32_t> a, b;
  if (task_.pairs == SentenceTask::kNone) {
    a.resize(static_cast<size_t>(p.count));
    corpus_->read(p.first, p.count, a.data());
  } else {
    const int64_t cut = 1 + draws.below(p.count - 1);
    a = part(p.first, cut);
    b = second_part(passage, cut, draws, out.other);
    if (out.other && task_.pairs == SentenceTask::kOrder) std::swap(a, b);
  }
  fit(a, b, p.target, draws);
  const auto add = [&](const std::vector<int32_t>& ids, int32_t type) {
    out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
    out.tokens.push_back(task_.sep);
    out.types.resize(out.tokens.size(), type);
  };
  out.tokens.push_back(task_.cls);
  add(a, 0);
  if (task_.pairs != SentenceTask::kNone) add(b, 1);
  return out;
}

void MaskedTokens::read(int64_t index, const sdk::SampleRow& row) const {
  int64_t passage = index % num_samples();
  if (shuffled_) {
    const auto epoch = static_cast<uint64_t>(index / num_samples());
    passage = static_cast<int64_t>(
        sdk::Permutation(static_cast<uint64_t>(num_samples()), sdk::counter_random(key_, epoch))(static_cast<uint64_t>(passage)));
  }
  Draws draws(~key_, shuffled_ ? index : passage);
  Sample sample = assemble(passage, draws);
  // The places that may be hidden, the first n of a random order of them.
  std::vector<size_t> places;
  for (size_t i = 0; i < sample.tokens.size(); ++i)
    if (sample.tokens[i] != task_.cls && sample.tokens[i] != task_.sep) places.push_back(i);
  const auto wanted = static_cast<size_t>(std::lround(static_cast<double>(sample.tokens.size()) * task_.share));
  const size_t n = std::min(places.size(), std::max<size_t>(wanted, 1));
  std::vector<int32_t> labels(sample.tokens.size(), sdk::kIgnoredLabel);
  for (size_t i = 0; i < n; ++i) {
    std::swap(places[i], places[i + static_cast<size_t>(draws.below(static_cast<int64_t>(places.size() - i)))]);
    int32_t& token = sample.tokens[places[i]];
    labels[places[i]] = token;
    if (draws.happens(task_.masked))
      token = task_.mask;
    else if (draws.happens(task_.random / std::max(1 - task_.masked, 1e-12)))
      token = static_cast<int32_t>(draws.below(task_.vocabulary));
  }
  for (int64_t i = 0; i < task_.seq; ++i) {
    const auto at = static_cast<size_t>(i);
    const bool there = at < sample.tokens.size();
    if (row.tokens != nullptr) row.tokens[i] = there ? sample.tokens[at] : task_.pad;
    if (row.labels != nullptr) row.labels[i] = there ? labels[at] : sdk::kIgnoredLabel;
    if (row.token_types != nullptr) row.token_types[i] = there ? sample.types[at] : 0;
    if (row.positions != nullptr) row.positions[i] = static_cast<int32_t>(i);
  }
  if (row.lengths != nullptr) *row.lengths = static_cast<int32_t>(sample.tokens.size());
  if (row.next_sentence_labels != nullptr) *row.next_sentence_labels = sample.other ? 1 : 0;
}

}  // namespace nemo::denoising

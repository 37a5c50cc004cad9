#include "gpt_dataset.hpp"

#include <algorithm>

namespace nemo::megatron {

GptDataset::GptDataset(std::shared_ptr<const IndexedDataset> dataset, const GptIndexRequest& request, const std::string& name)
    : dataset_(std::move(dataset)),
      index_(build_gpt_index(
          request, [this](int64_t d) { return dataset_->length(d); }, name)),
      extra_token_(request.extra_token) {}

GptDataset::GptDataset(std::shared_ptr<const IndexedDataset> dataset, GptIndex index, int32_t extra_token)
    : dataset_(std::move(dataset)), index_(std::move(index)), extra_token_(extra_token) {}

void GptDataset::read(int64_t i, std::span<int32_t> text) const {
  const uint32_t sample = index_.shuffle[static_cast<size_t>(i)];
  const SamplePosition begin = index_.samples[sample], end = index_.samples[sample + 1];
  size_t filled = 0;
  for (uint32_t d = begin.document; d <= end.document; ++d) {
    const int32_t document = index_.documents[d];
    const int64_t from = d == begin.document ? begin.offset : 0;
    const int64_t to = d == end.document ? int64_t{end.offset} + extra_token_ : dataset_->length(document);
    const auto n = static_cast<size_t>(std::max<int64_t>(to - from, 0));
    dataset_->read(document, from, static_cast<int64_t>(n), text.subspan(filled, n).data());
    filled += n;
  }
  std::fill(text.begin() + static_cast<std::ptrdiff_t>(filled), text.end(), kPadding);
}

void write_row(std::span<const int32_t> text, int64_t seq_length, const MaskOptions& options, const sdk::SampleRow& row) {
  int32_t document_start = 0, segment = 0;
  for (int64_t j = 0; j < seq_length; ++j) {
    const auto at = static_cast<size_t>(j);
    const int32_t token = text[at];
    const int32_t label = at + 1 < text.size() ? text[at + 1] : GptDataset::kPadding;
    const bool ends_document = token == options.eod_token && token != GptDataset::kPadding;
    const bool ignored = label == GptDataset::kPadding || (options.eod_mask_loss && ends_document);
    if (row.tokens != nullptr) row.tokens[j] = token == GptDataset::kPadding ? 0 : token;
    if (row.labels != nullptr) row.labels[j] = ignored ? sdk::kIgnoredLabel : label;
    if (row.positions != nullptr) row.positions[j] = static_cast<int32_t>(j) - (options.reset_position_ids ? document_start : 0);
    if (row.segments != nullptr) row.segments[j] = options.reset_attention_mask ? segment : 0;
    if (ends_document) document_start = static_cast<int32_t>(j) + 1, ++segment;
  }
}

}  // namespace nemo::megatron

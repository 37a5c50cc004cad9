// plugins/data/megatron/gpt_dataset.hpp - samples of one indexed dataset, and what a model gets of them (Megatron-Core's
// GPTDataset.__getitem__).
#pragma once

#include <memory>
#include <span>

#include "gpt_index.hpp"
#include "indexed_dataset.hpp"
#include "nemo/cpp/data.hpp"

namespace nemo::megatron {

// Immutable; any thread may read.
class GptDataset {
 public:
  GptDataset(std::shared_ptr<const IndexedDataset> dataset, const GptIndexRequest& request, const std::string& name);
  GptDataset(std::shared_ptr<const IndexedDataset> dataset, GptIndex index, int32_t extra_token);

  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(index_.shuffle.size()); }
  [[nodiscard]] const GptIndex& index() const { return index_; }
  // Tokens of sample i (after the shuffle) into text[seq_length + extra_token]; kPadding after the end of a short last sample.
  void read(int64_t i, std::span<int32_t> text) const;

  static constexpr int32_t kPadding = -1;

 private:
  std::shared_ptr<const IndexedDataset> dataset_;
  GptIndex index_;
  int32_t extra_token_;
};

struct MaskOptions {
  bool reset_position_ids = false;    // positions start again after each end of document
  bool reset_attention_mask = false;  // tokens attend within their document only: segments count the documents
  bool eod_mask_loss = false;         // no loss where the input is an end of document
  int32_t eod_token = -1;
};

// text[seq_length + extra_token] -> one row; without an extra token the last label is ignored.
void write_row(std::span<const int32_t> text, int64_t seq_length, const MaskOptions& options, const sdk::SampleRow& row);

}  // namespace nemo::megatron

// plugins/data/megatron/gpt_index.hpp - the document, sample and shuffle index of Megatron-Core's GPTDataset
// (megatron/core/datasets/gpt_dataset.py).
//
// Documents are shuffled, laid end to end, and cut into samples of seq_length tokens that overlap by extra_token; then the samples are
// shuffled. If the last epoch is needed for less than 80 % of its samples, it is shuffled apart, so that the other epochs are seen whole
// first.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace nemo::megatron {

enum class LastSample { kDrop, kKeep };  // the one that has fewer than seq_length tokens

struct GptIndexRequest {
  int64_t first_document = 0, end_document = 0;
  int64_t seq_length = 0;
  int64_t num_samples = 0;  // 0: one epoch
  uint32_t seed = 0;
  int32_t extra_token = 1;  // 1: samples carry seq_length + 1 tokens; 0: seq_length
  LastSample last_sample = LastSample::kDrop;
};

struct SamplePosition {
  uint32_t document;  // position in GptIndex::documents
  int32_t offset;     // token within that document; one before its start if it is empty and ends the last sample
  bool operator==(const SamplePosition&) const = default;
};

struct GptIndex {
  std::vector<int32_t> documents;       // epochs one after the other, shuffled
  std::vector<SamplePosition> samples;  // one more than there are samples: sample s runs from samples[s] to samples[s + 1]
  std::vector<uint32_t> shuffle;        // order in which samples are given
  int64_t tokens_per_epoch = 0;
  int64_t epochs = 1;
  bool separate_final_epoch = false;
};

// length(d) is the number of tokens of document d. Linear in epochs x documents + samples. `name` is the dataset, for messages. Throws
// NEMO_CODE_CONFIG_INVALID where there is not one whole sample, NEMO_CODE_UNSUPPORTED above 2^32 samples or document repetitions.
[[nodiscard]] GptIndex plan_gpt_index(const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length,
                                      const std::string& name);  // the numbers alone; no arrays
[[nodiscard]] int64_t count_samples(const GptIndexRequest& request, const GptIndex& planned);
void fill_gpt_index(const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length, GptIndex& planned);
// Both in one.
[[nodiscard]] GptIndex build_gpt_index(const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length,
                                       const std::string& name);

}  // namespace nemo::megatron

// plugins/data/megatron/blended_source.hpp - one split of one or several indexed datasets as a stream of samples (Megatron-Core's
// BlendedMegatronDatasetBuilder).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blend.hpp"
#include "gpt_dataset.hpp"
#include "index_cache.hpp"
#include "nemo/cpp/data.hpp"
#include "split.hpp"

namespace nemo::megatron {

// "paths" of the recipe: prefixes, with weights for all or for none.
struct BlendPaths {
  std::vector<std::string> prefixes;
  std::vector<double> weights;  // empty, or one for each prefix, as written
};
// ["w1", "p1", "w2", "p2" ...] or ["p1", "p2" ...]; a .bin or .idx at the end of a prefix is dropped. Throws NEMO_CODE_CONFIG_INVALID (path
// "paths").
[[nodiscard]] BlendPaths parse_paths(const std::vector<std::string>& words);

struct BlendRequest {
  BlendPaths paths;
  std::string split_name;  // for messages
  std::string split;       // as the recipe writes it, for messages
  Share share;
  int64_t num_samples = 0;  // 0: one epoch, all that the datasets hold
  GptIndexRequest index;    // its documents and num_samples are filled per dataset
  double surplus = 0.005;   // margin of samples of each dataset
  MaskOptions masks;
  std::shared_ptr<const IndexCache> cache{};  // null: maps are built in memory
};

class BlendedSource final : public sdk::SampleSource {
 public:
  explicit BlendedSource(const BlendRequest& request);

  int64_t num_samples() const override { return blend_ ? static_cast<int64_t>(blend_->dataset.size()) : datasets_[0]->size(); }
  void read(int64_t index, const sdk::SampleRow& row) const override;

  // Tokens of sample `index` before masks; text[seq_length + extra_token].
  void read_text(int64_t index, std::span<int32_t> text) const;
  [[nodiscard]] const std::vector<std::unique_ptr<GptDataset>>& datasets() const { return datasets_; }
  [[nodiscard]] const std::optional<Blend>& blend() const { return blend_; }  // absent for a single path without weight

 private:
  void build_weighted(const BlendRequest& request);
  void build_whole(const BlendRequest& request);

  std::vector<std::unique_ptr<GptDataset>> datasets_;
  std::optional<Blend> blend_;
  int64_t seq_;
  MaskOptions masks_;
  mutable std::vector<int32_t> text_;  // scratch of read: [step-thread]
};

}  // namespace nemo::megatron

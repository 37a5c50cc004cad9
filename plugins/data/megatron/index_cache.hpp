// plugins/data/megatron/index_cache.hpp - index maps kept in a folder, named and stored as Megatron-Core stores them.
//
// Per dataset and split: <md5>-GPTDataset-<split>-description.txt, -document_index.npy [n] int32, -sample_index.npy [samples + 1, 2] int32
// (int64 where it does not fit), -shuffle_index.npy [samples] uint32, and -checksums.txt, which is ours: a line for md5sum -c of each
// array. md5 is that of the description, a JSON text of all that the maps follow from: path, samples, split, seed, sequence length, split
// matrix, and (beyond Megatron's) the digest of the document lengths, so that another dataset under the same path gets other names. The
// tokenizer, which Megatron adds, is left out: maps do not follow from it.
//
// Files appear by renaming, checksums last; any number of processes may read and build at once. Maps that are damaged or incomplete are
// built again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gpt_index.hpp"
#include "split.hpp"

namespace nemo::megatron {

struct IndexCacheKey {
  std::string dataset;          // prefix
  std::string split_name;       // "train", "validation", "test"
  std::string split;            // as the recipe writes it
  std::vector<Share> shares{};  // of train, validation, test
};

class IndexCache {
 public:
  // `folder` is made if need be. `warn` is told of damaged maps. Throws NEMO_CODE_CONFIG_INVALID (path "index_mapping_dir") where the
  // folder cannot be made.
  IndexCache(std::string folder, std::function<void(const std::string&)> warn);

  // As build_gpt_index, from the folder where it is there, else built and left there. Throws as build_gpt_index does, and
  // NEMO_CODE_CONFIG_INVALID (path "index_mapping_dir") where the maps cannot be written.
  [[nodiscard]] GptIndex get(const IndexCacheKey& key, const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length,
                             const std::string& name) const;

  // The text whose md5 names the files.
  [[nodiscard]] static std::string describe(const IndexCacheKey& key, const GptIndexRequest& request,
                                            const std::function<int32_t(int64_t)>& length);

 private:
  bool load(const std::string& stem, const GptIndexRequest& request, GptIndex& index) const;
  void store(const std::string& stem, const std::string& description, const GptIndex& index) const;

  std::string folder_;
  std::function<void(const std::string&)> warn_;
};

}  // namespace nemo::megatron

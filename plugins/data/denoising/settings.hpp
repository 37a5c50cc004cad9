// plugins/data/denoising/settings.hpp - settings that both tasks have: where the text is, and how it is divided into splits.
#pragma once

#include "corpus.hpp"
#include "draws.hpp"

namespace nemo::denoising {

// files, paths, split; then the task's own.
[[nodiscard]] std::vector<sdk::Field> with_corpus(const char* files_doc, const char* split_doc, std::vector<sdk::Field> own);

// Things [begin, end) of the named split; absent where the settings do not have it.
struct Range {
  int64_t begin = 0, end = 0;
  bool present = false;
};

[[nodiscard]] Range part_of(const sdk::Config& config, const std::string& split, int64_t things);

// The text files, cut so, or the Megatron datasets. Throws a fault where it is not clear which, or there is no tokenizer.
[[nodiscard]] std::shared_ptr<const Corpus> open_corpus(const sdk::Config& config, const sdk::DataRequest& request, const Cut& cut);

// The text of the files, for tokenizers that learn from it.
void text_of(const sdk::Config& config, const nemo_sink& sink);

}  // namespace nemo::denoising

// core/text/gpt2_tokenizer.hpp - byte-level byte-pair encoding with GPT-2's word rule. Any bytes can be encoded; decoding gives them back.
#pragma once

#include <mutex>

#include "core/text/byte_pair.hpp"
#include "core/text/gpt2_files.hpp"
#include "core/text/tokenizer.hpp"
#include "core/text/word_splitter.hpp"

namespace nemo::text {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

class Gpt2Tokenizer final : public Tokenizer {
 public:
  // "<|endoftext|>" is eos, and is found in text as one token; a vocabulary without it gets it as its last id.
  Gpt2Tokenizer(Gpt2Vocabulary vocabulary, std::vector<Merge> merges);
  ~Gpt2Tokenizer() override;

  [[nodiscard]] std::string_view type() const override { return "gpt2"; }
  [[nodiscard]] int64_t vocab_size() const override { return static_cast<int64_t>(vocabulary_.bytes.size()); }
  [[nodiscard]] int64_t eos() const override { return eos_; }
  void encode_to(std::string_view text, const IdSink& ids) const override;
  [[nodiscard]] std::string decode_bytes(std::span<const int32_t> ids) const override;
  [[nodiscard]] std::vector<TokenizerFile> files() const override;

 private:
  class WordCache;
  // One encode call holds one cache; calls from several threads take different ones.
  [[nodiscard]] std::unique_ptr<WordCache> take_cache() const;
  void give_back(std::unique_ptr<WordCache> cache) const;

  Gpt2Vocabulary vocabulary_;
  std::vector<Merge> merges_;
  BytePairMerger merger_;
  WordSplitter splitter_;
  int64_t eos_ = -1;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<WordCache>> caches_;  // guarded by mutex_
};

}  // namespace nemo::text

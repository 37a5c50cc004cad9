// core/text/tiktoken_tokenizer.hpp - a vocabulary in tiktoken's format: lines of base64 bytes, a space and the rank, which is the id.
#pragma once

#include <mutex>
#include <unordered_map>

#include "core/text/hf/added_tokens.hpp"
#include "core/text/hf/pair_merger.hpp"
#include "core/text/hf/word_cache.hpp"
#include "core/text/regex.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::text {

class TiktokenTokenizer final : public Tokenizer {
 public:
  // `files`: the ranks first, whatever their name; then perhaps "special_tokens.json" with {"pattern": regular expression,
  // "special_tokens": {text: id}}. Without it the pattern and the 256 special tokens behind the ranks are those of Llama 3. `where` is the
  // path of the ranks. Throws Error(kDataLoss) naming WHERE:line.
  TiktokenTokenizer(std::vector<TokenizerFile> files, const std::string& where);
  ~TiktokenTokenizer() override;

  [[nodiscard]] std::string_view type() const override { return "tiktoken"; }
  [[nodiscard]] int64_t vocab_size() const override { return vocab_size_; }
  [[nodiscard]] int64_t bos() const override { return bos_; }
  [[nodiscard]] int64_t eos() const override { return eos_; }
  // Special tokens in the text are found. Broken UTF-8 is read as U+FFFD.
  void encode_to(std::string_view text, const IdSink& ids) const override;
  // Special tokens in the text are text.
  [[nodiscard]] std::vector<int32_t> encode_ordinary(std::string_view text) const;
  [[nodiscard]] std::string decode_bytes(std::span<const int32_t> ids) const override;
  [[nodiscard]] std::vector<TokenizerFile> files() const override { return files_; }

 private:
  void read_ranks(const std::string& where);
  void read_specials(const std::string& where);
  void use_llama3_specials();
  void add_special(const std::string& text, int64_t id, const std::string& where);
  void index_merges();
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;
  template <class Push>
  void encode_text(std::string_view text, hf::WordCache& cache, Push&& push) const;
  [[nodiscard]] std::unique_ptr<hf::WordCache> take_cache() const;
  void give_back(std::unique_ptr<hf::WordCache> cache) const;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::vector<TokenizerFile> files_;
  std::vector<std::string> tokens_;  // by rank
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ranks_;
  std::unordered_map<int32_t, std::string> specials_;
  hf::TokenFinder finder_;
  hf::PairMerger merger_;
  std::vector<int32_t> byte_ids_;
  std::unique_ptr<Regex> pattern_;
  int64_t vocab_size_ = 0, bos_ = -1, eos_ = -1;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<hf::WordCache>> caches_;  // guarded by mutex_
};

}  // namespace nemo::text

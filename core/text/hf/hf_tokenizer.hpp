// core/text/hf/hf_tokenizer.hpp - a tokenizer.json of the Hugging Face tokenizers library: the same ids, offsets and text as version 0.23.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/text/hf/added_tokens.hpp"
#include "core/text/hf/decoders.hpp"
#include "core/text/hf/encoding.hpp"
#include "core/text/hf/model.hpp"
#include "core/text/hf/normalizers.hpp"
#include "core/text/hf/post_processors.hpp"
#include "core/text/hf/pre_tokenizers.hpp"
#include "core/text/hf/word_cache.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::text::hf {

// What decode does with special tokens.
enum class Shown { kAll, kWithoutSpecials };

class HfTokenizer final : public Tokenizer {
 public:
  // `files`: "tokenizer.json" and what else belongs to it: "tokenizer_config.json", "special_tokens_map.json" (bos and eos), and files that
  // are only kept. `where` is the path of the tokenizer.json in messages. Throws Error(kDataLoss) or Error(kUnsupported) naming file and
  // field.
  HfTokenizer(std::vector<TokenizerFile> files, const std::string& where);
  ~HfTokenizer() override;

  [[nodiscard]] std::string_view type() const override { return "huggingface"; }
  [[nodiscard]] int64_t vocab_size() const override { return vocab_size_; }
  [[nodiscard]] int64_t bos() const override { return bos_; }
  [[nodiscard]] int64_t eos() const override { return eos_; }
  // Without the post-processor's special tokens, never truncated or padded; broken UTF-8 is read as U+FFFD. Added tokens in the text are
  // found. At most 4 GiB of text.
  void encode_to(std::string_view text, const IdSink& ids) const override;
  [[nodiscard]] std::vector<int32_t> encode_special(std::string_view text) const override;
  [[nodiscard]] std::string decode_bytes(std::span<const int32_t> ids) const override;
  [[nodiscard]] std::string decode_text(std::span<const int32_t> ids, Shown shown) const;
  [[nodiscard]] std::vector<TokenizerFile> files() const override { return files_; }

  // Everything about a text, or about a pair of texts; truncated and padded as the settings below say.
  [[nodiscard]] Encoding encode_all(std::string_view text, std::optional<std::string_view> pair, Specials specials) const;
  // The same for a list of single texts, which are padded to the longest of them.
  [[nodiscard]] std::vector<Encoding> encode_batch(const std::vector<std::string>& texts, Specials specials) const;

  // As the file says to begin with. Not to be called while another thread encodes.
  void set_truncation(std::optional<Truncation> truncation) { truncation_ = truncation; }
  void set_padding(std::optional<Padding> padding) { padding_ = std::move(padding); }

  // nullptr: no such id.
  [[nodiscard]] const std::string* token(int64_t id) const;
  [[nodiscard]] int64_t find(std::string_view token) const;  // -1: not there

 private:
  void load(const Field& root);
  void find_ends(const std::string& where);
  // Calls on_piece(text, span) for pieces that the model encodes, on_token(text, span, token) for added tokens, in order.
  template <class OnPiece, class OnToken>
  void take_apart(std::string_view text, bool track, OnPiece&& on_piece, OnToken&& on_token) const;
  template <class OnPiece>
  void take_words(AlignedText& text, OnPiece&& on_piece) const;
  [[nodiscard]] Encoding encode_one(std::string_view text, int32_t type_id) const;
  [[nodiscard]] Encoding encode_unpadded(std::string_view text, std::optional<std::string_view> pair, Specials specials) const;
  [[nodiscard]] std::unique_ptr<WordCache> take_cache() const;
  void give_back(std::unique_ptr<WordCache> cache) const;

  std::vector<TokenizerFile> files_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<AddedTokens> added_;
  std::unique_ptr<PostProcessor> post_processor_;
  std::unique_ptr<Decoder> decoder_;
  std::optional<Truncation> truncation_;
  std::optional<Padding> padding_;
  int64_t vocab_size_ = 0, bos_ = -1, eos_ = -1;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<WordCache>> caches_;  // guarded by mutex_
};

}  // namespace nemo::text::hf

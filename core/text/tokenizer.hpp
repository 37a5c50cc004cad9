// core/text/tokenizer.hpp - text to token ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nemo::text {

// Takes a further piece of an encoding.
using IdSink = std::function<void(std::span<const int32_t>)>;

// A file that a tokenizer is saved as; the name has no folder.
struct TokenizerFile {
  std::string name, bytes;
};

// Immutable after construction; every method may be called from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The name that recipes and saved files use: "byte", "char", "gpt2", "huggingface", "sentencepiece", "tiktoken".
  [[nodiscard]] virtual std::string_view type() const = 0;
  // Ids are 0 .. vocab_size()-1.
  [[nodiscard]] virtual int64_t vocab_size() const = 0;
  [[nodiscard]] virtual int64_t bos() const { return -1; }  // -1: none
  [[nodiscard]] virtual int64_t eos() const { return -1; }  // -1: none; ends documents

  // Encodes the whole text, in bounded memory: ids arrive in pieces. Throws Error(kDataLoss) for text that the vocabulary cannot express.
  virtual void encode_to(std::string_view text, const IdSink& ids) const = 0;
  [[nodiscard]] std::vector<int32_t> encode(std::string_view text) const;

  // The same with the special tokens that the tokenizer's files put around a text; without any by default.
  [[nodiscard]] virtual std::vector<int32_t> encode_special(std::string_view text) const { return encode(text); }

  // The bytes that the ids stand for; may end within a character. Throws Error(kInvalidArgument) for an id outside the vocabulary.
  [[nodiscard]] virtual std::string decode_bytes(std::span<const int32_t> ids) const = 0;
  // The same as valid UTF-8: each broken sequence becomes U+FFFD.
  [[nodiscard]] std::string decode(std::span<const int32_t> ids) const;

  // The files that load_tokenizer makes the same tokenizer of: those it was read from, byte for byte, or a nemo_tokenizer.json.
  [[nodiscard]] virtual std::vector<TokenizerFile> files() const = 0;
  // Writes files() into the folder, which must exist. Throws Error(kDevice) if they cannot be written.
  void save(const std::filesystem::path& dir) const;

 protected:
  [[noreturn]] void throw_bad_id(int32_t id, size_t position) const;
};

inline constexpr std::string_view kTokenizerFile = "nemo_tokenizer.json";

// Gives the text that a vocabulary is learned from, in pieces of any size, to the function it is called with.
using Corpus = std::function<void(const std::function<void(std::string_view)>&)>;

struct TokenizerOptions {
  std::filesystem::path vocab_file = {};   // gpt2: token -> id, JSON
  std::filesystem::path merges_file = {};  // gpt2: one merge a line, best first
  std::filesystem::path path = {};         // huggingface, sentencepiece, tiktoken: a file, or the folder that it is in
};

// `type` is one of tokenizer_types(). "char" needs a corpus, "gpt2" both files, the others a path. Throws Error(kConfig) for an unknown
// type or a missing option, Error(kNotFound) or Error(kDataLoss) (file:line:column) for bad files.
[[nodiscard]] std::unique_ptr<Tokenizer> make_tokenizer(std::string_view type, const TokenizerOptions& options, const Corpus& corpus);
[[nodiscard]] std::vector<std::string> tokenizer_types();

// `where` names the source in messages.
[[nodiscard]] std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view where);

// A tokenizer file, or a folder with what save() wrote or with files as Hugging Face, SentencePiece and tiktoken name them:
// nemo_tokenizer.json, tokenizer.json, tokenizer.model, vocab.json with merges.txt, spiece.model; the first of these counts.
[[nodiscard]] std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

// One kind of file, with those beside it that belong to it. Errors as of make_tokenizer.
[[nodiscard]] std::unique_ptr<Tokenizer> load_gpt2(const std::filesystem::path& vocab_file, const std::filesystem::path& merges_file);
[[nodiscard]] std::unique_ptr<Tokenizer> load_huggingface(const std::filesystem::path& file);
[[nodiscard]] std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& file);
[[nodiscard]] std::unique_ptr<Tokenizer> load_tiktoken(const std::filesystem::path& file);

}  // namespace nemo::text

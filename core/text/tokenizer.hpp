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

// Immutable after construction; every method may be called from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The name that recipes and saved files use: "byte", "char", "gpt2".
  [[nodiscard]] virtual std::string_view type() const = 0;
  // Ids are 0 .. vocab_size()-1.
  [[nodiscard]] virtual int64_t vocab_size() const = 0;
  [[nodiscard]] virtual int64_t bos() const { return -1; }  // -1: none
  [[nodiscard]] virtual int64_t eos() const { return -1; }  // -1: none; ends documents

  // Encodes the whole text, in bounded memory: ids arrive in pieces. Throws Error(kDataLoss) for text that the vocabulary cannot express.
  virtual void encode_to(std::string_view text, const IdSink& ids) const = 0;
  [[nodiscard]] std::vector<int32_t> encode(std::string_view text) const;

  // The bytes that the ids stand for; may end within a character. Throws Error(kInvalidArgument) for an id outside the vocabulary.
  [[nodiscard]] virtual std::string decode_bytes(std::span<const int32_t> ids) const = 0;
  // The same as valid UTF-8: each broken sequence becomes U+FFFD.
  [[nodiscard]] std::string decode(std::span<const int32_t> ids) const;

  // The whole tokenizer as JSON text, for a checkpoint; tokenizer_from_json is its inverse.
  [[nodiscard]] virtual std::string to_json() const = 0;
  // Writes DIR/nemo_tokenizer.json, which holds to_json(). The folder must exist. Throws Error(kDevice) if it cannot be written.
  void save(const std::filesystem::path& dir) const;

 protected:
  [[noreturn]] void throw_bad_id(int32_t id, size_t position) const;
};

inline constexpr std::string_view kTokenizerFile = "nemo_tokenizer.json";

// Gives the text that a vocabulary is learned from, in pieces of any size, to the function it is called with.
using Corpus = std::function<void(const std::function<void(std::string_view)>&)>;

struct TokenizerOptions {
  std::filesystem::path vocab_file;   // gpt2: token -> id, JSON
  std::filesystem::path merges_file;  // gpt2: one merge a line, best first
};

// `type` is one of tokenizer_types(). "char" needs a corpus, "gpt2" both files. Throws Error(kConfig) for an unknown type or a missing
// option, Error(kNotFound) or Error(kDataLoss) (file:line:column) for bad files.
[[nodiscard]] std::unique_ptr<Tokenizer> make_tokenizer(std::string_view type, const TokenizerOptions& options, const Corpus& corpus);
[[nodiscard]] std::vector<std::string> tokenizer_types();

// `where` names the source in messages.
[[nodiscard]] std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view where);

// What save() wrote, or else the vocab.json and merges.txt of a Hugging Face GPT-2 folder.
[[nodiscard]] std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& dir);

}  // namespace nemo::text

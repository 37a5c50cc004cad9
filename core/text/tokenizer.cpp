#include "core/text/tokenizer.hpp"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"
#include "core/text/byte_tokenizer.hpp"
#include "core/text/char_tokenizer.hpp"
#include "core/text/gpt2_tokenizer.hpp"
#include "core/text/text_file.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

[[noreturn]] void throw_unknown_type(std::string_view where, std::string_view type, Code code) {
  const std::vector<std::string> known = tokenizer_types();
  const std::string nearest = nearest_name(type, known);
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  throw Error(code, std::string(where) + "unknown tokenizer '" + std::string(type) + "'" +
                        (nearest.empty() ? "" : "; did you mean '" + nearest + "'?") + " (known: " + list + ")");
}

nlohmann::json parse_tokenizer_json(std::string_view json, std::string_view where) {
  try {
    return nlohmann::json::parse(json);
  } catch (const nlohmann::json::parse_error& e) {
    throw Error(Code::kDataLoss, place_in_text(where, json, e.byte == 0 ? 0 : e.byte - 1) + ": the tokenizer is no valid JSON" +
                                     (e.byte > json.size() ? ": the text ends early (truncated?)" : ""));
  }
}

// The file of a path that may be the folder around it.
std::filesystem::path file_of(const std::filesystem::path& path, std::string_view type, const char* name) {
  if (path.empty())
    throw Error(Code::kConfig, "the " + std::string(type) + " tokenizer needs path (a " + name + ", or the folder that it is in)");
  return std::filesystem::is_directory(path) ? path / name : path;
}

}  // namespace

std::unique_ptr<Tokenizer> load_gpt2(const std::filesystem::path& vocab_file, const std::filesystem::path& merges_file) {
  Gpt2Vocabulary vocabulary = parse_gpt2_vocabulary(read_text_file(vocab_file, "vocabulary"), vocab_file.string());
  std::vector<Merge> merges = parse_gpt2_merges(read_text_file(merges_file, "merges"), vocabulary, merges_file.string());
  return std::make_unique<Gpt2Tokenizer>(std::move(vocabulary), std::move(merges));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> out;
  encode_to(text, [&](std::span<const int32_t> ids) { out.insert(out.end(), ids.begin(), ids.end()); });
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const { return replace_invalid_utf8(decode_bytes(ids)); }

void Tokenizer::save(const std::filesystem::path& dir) const {
  for (const TokenizerFile& file : files()) {
    std::ofstream out(dir / file.name, std::ios::binary);
    out << file.bytes;
    out.close();
    if (!out)
      throw Error(Code::kDevice, (dir / file.name).string() + ": cannot write the tokenizer; is the folder there, and is the disk full?");
  }
}

void Tokenizer::throw_bad_id(int32_t id, size_t position) const {
  throw Error(Code::kInvalidArgument, std::string(type()) + " tokenizer: id " + std::to_string(id) + " at position " +
                                          std::to_string(position) + " is outside the vocabulary of " + std::to_string(vocab_size()));
}

std::vector<std::string> tokenizer_types() { return {"byte", "char", "gpt2", "huggingface", "sentencepiece", "tiktoken"}; }

std::unique_ptr<Tokenizer> make_tokenizer(std::string_view type, const TokenizerOptions& options, const Corpus& corpus) {
  if (type == "byte") return std::make_unique<ByteTokenizer>();
  if (type == "char") {
    if (!corpus)
      throw Error(
          Code::kConfig,
          "the char tokenizer learns its vocabulary from the data, but this datamodule has no text to give; use the text datamodule");
    return CharTokenizer::learn(corpus);
  }
  if (type == "huggingface") return load_huggingface(file_of(options.path, type, "tokenizer.json"));
  if (type == "sentencepiece") return load_sentencepiece(file_of(options.path, type, "tokenizer.model"));
  if (type == "tiktoken") return load_tiktoken(file_of(options.path, type, "tokenizer.model"));
  if (type != "gpt2") throw_unknown_type("", type, Code::kConfig);
  if (options.vocab_file.empty() || options.merges_file.empty())
    throw Error(Code::kConfig, "the gpt2 tokenizer needs vocab_file (vocab.json) and merges_file (merges.txt)");
  return load_gpt2(options.vocab_file, options.merges_file);
}

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view where) {
  const nlohmann::json parsed = parse_tokenizer_json(json, where);
  const std::string place = std::string(where) + ": ";
  try {
    const auto type = parsed.at("type").get<std::string>();
    if (type == "byte") return std::make_unique<ByteTokenizer>();
    if (type == "char") {
      const auto numbers = parsed.at("code_points").get<std::vector<uint32_t>>();
      return std::make_unique<CharTokenizer>(std::vector<char32_t>(numbers.begin(), numbers.end()), where);
    }
    if (type != "gpt2") throw_unknown_type(place, type, Code::kUnsupported);
    Gpt2Vocabulary vocabulary = parse_gpt2_vocabulary(parsed.at("vocab").dump(), place + "vocab");
    std::vector<Merge> merges = parse_gpt2_merges(parsed.at("merges").get_ref<const std::string&>(), vocabulary, place + "merges");
    return std::make_unique<Gpt2Tokenizer>(std::move(vocabulary), std::move(merges));
  } catch (const nlohmann::json::exception& e) {
    throw Error(Code::kDataLoss, place + "not a saved tokenizer: " + e.what());
  }
}

}  // namespace nemo::text

// Finds a tokenizer among files: what load_tokenizer and the file-based types of make_tokenizer read.
#include <filesystem>

#include "core/base/error.hpp"
#include "core/text/gpt2_tokenizer.hpp"
#include "core/text/hf/hf_tokenizer.hpp"
#include "core/text/sentencepiece_tokenizer.hpp"
#include "core/text/text_file.hpp"
#include "core/text/tiktoken_tokenizer.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::text {
namespace {

namespace fs = std::filesystem;

TokenizerFile read_file(const fs::path& path, std::string_view what) { return {path.filename().string(), read_text_file(path, what)}; }

void add_companions(const fs::path& folder, std::initializer_list<const char*> names, std::vector<TokenizerFile>& files) {
  for (const char* name : names)
    if (fs::is_regular_file(folder / name)) files.push_back(read_file(folder / name, "tokenizer configuration"));
}

// tiktoken's lines of base64 and a number; SentencePiece's models are binary.
bool looks_like_ranks(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, std::min(bytes.find('\n'), bytes.size()));
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.size() > 4096) return false;
  for (const char c : line)
    if (static_cast<uint8_t>(c) >= 0x7F || (static_cast<uint8_t>(c) < 0x20 && c != '\r')) return false;
  return true;
}

}  // namespace

std::unique_ptr<Tokenizer> load_huggingface(const fs::path& file) {
  std::vector<TokenizerFile> files;
  files.push_back({"tokenizer.json", read_text_file(file, "tokenizer")});
  add_companions(file.parent_path(), {"tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}, files);
  return std::make_unique<hf::HfTokenizer>(std::move(files), file.string());
}

std::unique_ptr<Tokenizer> load_tiktoken(const fs::path& file) {
  std::vector<TokenizerFile> files;
  files.push_back({"tokenizer.model", read_text_file(file, "tokenizer")});
  add_companions(file.parent_path(), {"special_tokens.json"}, files);
  return std::make_unique<TiktokenTokenizer>(std::move(files), file.string());
}

std::unique_ptr<Tokenizer> load_sentencepiece(const fs::path& file) {
  std::vector<TokenizerFile> files;
  files.push_back({"tokenizer.model", read_text_file(file, "tokenizer")});
  add_companions(file.parent_path(), {"tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}, files);
  return make_sentencepiece(std::move(files), file.string());
}

namespace {

std::unique_ptr<Tokenizer> load_file(const fs::path& file) {
  const std::string name = file.filename().string();
  if (name == kTokenizerFile) return tokenizer_from_json(read_text_file(file, "tokenizer"), file.string());
  if (name == "vocab.json") return load_gpt2(file, file.parent_path() / "merges.txt");
  if (file.extension() == ".json") return load_huggingface(file);
  const std::string bytes = read_text_file(file, "tokenizer");
  if (looks_like_ranks(bytes)) return load_tiktoken(file);
  if (file.extension() == ".model") return load_sentencepiece(file);
  throw Error(Code::kUnsupported,
              file.string() +
                  ": not a tokenizer that is known: a tokenizer.json, a SentencePiece or tiktoken .model, or vocab.json with merges.txt");
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  if (fs::is_regular_file(path)) return load_file(path);
  for (const char* name : {kTokenizerFile.data(), "tokenizer.json", "tokenizer.model"})
    if (fs::is_regular_file(path / name)) return load_file(path / name);
  if (fs::exists(path / "vocab.json") && fs::exists(path / "merges.txt")) return load_gpt2(path / "vocab.json", path / "merges.txt");
  for (const char* name : {"spiece.model", "qwen.tiktoken"})
    if (fs::is_regular_file(path / name)) return load_file(path / name);
  if (!fs::exists(path)) throw Error(Code::kNotFound, path.string() + ": no such file or folder");
  throw Error(Code::kNotFound, path.string() + ": no tokenizer here; looked for " + std::string(kTokenizerFile) +
                                   ", tokenizer.json, tokenizer.model, spiece.model, and for vocab.json with merges.txt");
}

}  // namespace nemo::text

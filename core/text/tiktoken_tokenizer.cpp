#include "core/text/tiktoken_tokenizer.hpp"

#include <charconv>

#include "core/base/error.hpp"
#include "core/text/base64.hpp"
#include "core/text/hf/config_files.hpp"
#include "core/text/hf/fields.hpp"
#include "core/text/id_buffer.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

// https://github.com/meta-llama/llama-models/blob/main/models/llama3/tokenizer.py
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr int64_t kLlama3Specials = 256;

[[noreturn]] void bad_line(const std::string& where, size_t number, const std::string& what) {
  throw Error(Code::kDataLoss, where + ":" + std::to_string(number) + ": " + what);
}

}  // namespace

TiktokenTokenizer::TiktokenTokenizer(std::vector<TokenizerFile> files, const std::string& where) : files_(std::move(files)) {
  read_ranks(where);
  index_merges();
  if (files_.size() > 1)
    read_specials(where);
  else
    use_llama3_specials();
  vocab_size_ = static_cast<int64_t>(tokens_.size());
  for (const auto& [id, text] : specials_) {
    vocab_size_ = std::max<int64_t>(vocab_size_, id + 1);
    if (text == "<|begin_of_text|>" || text == "<|startoftext|>") bos_ = id;
    if (text == "<|end_of_text|>" || text == "<|endoftext|>") eos_ = id;
  }
}

TiktokenTokenizer::~TiktokenTokenizer() = default;

void TiktokenTokenizer::read_ranks(const std::string& where) {
  const std::string_view text = files_.at(0).bytes;
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) bad_line(where, number, "expected base64, a space and a rank; the line has no space");
    const auto bytes = decode_base64(line.substr(0, space));
    if (!bytes || bytes->empty())
      bad_line(where, number, "\"" + replace_invalid_utf8(line.substr(0, std::min<size_t>(space, 60))) + "\" is not base64");
    int64_t rank = -1;
    const std::string_view digits = line.substr(space + 1);
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (error != std::errc() || stop != digits.data() + digits.size())
      bad_line(where, number, "\"" + replace_invalid_utf8(digits) + "\" is no rank");
    if (rank != static_cast<int64_t>(tokens_.size()))
      bad_line(where, number,
               "rank " + std::to_string(rank) + " where " + std::to_string(tokens_.size()) + " belongs; ranks count up from 0");
    if (!ranks_.emplace(*bytes, static_cast<int32_t>(rank)).second) bad_line(where, number, "these bytes have a rank already");
    tokens_.push_back(*bytes);
  }
  if (tokens_.empty()) throw Error(Code::kDataLoss, where + ": the file has no ranks");
}

// Any two tokens whose bytes together are a token merge, at its rank.
void TiktokenTokenizer::index_merges() {
  byte_ids_.assign(256, -1);
  for (size_t b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    const auto found = ranks_.find(std::string_view(&byte, 1));
    if (found == ranks_.end())
      throw Error(Code::kDataLoss, files_[0].name + ": no rank for byte " + std::to_string(b) + "; a vocabulary has all 256");
    byte_ids_[b] = found->second;
  }
  struct Pair {
    int32_t left, right, result;
  };
  std::vector<Pair> pairs;
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const std::string_view whole = tokens_[id];
    for (size_t cut = 1; cut < whole.size(); ++cut) {
      const auto left = ranks_.find(whole.substr(0, cut));
      if (left == ranks_.end()) continue;
      const auto right = ranks_.find(whole.substr(cut));
      if (right != ranks_.end()) pairs.push_back({left->second, right->second, static_cast<int32_t>(id)});
    }
  }
  merger_.reserve(pairs.size());
  for (const Pair& p : pairs) merger_.add(p.left, p.right, p.result, p.result);
}

void TiktokenTokenizer::read_specials(const std::string& where) {
  const std::string path = where + " and " + files_[1].name;
  const nlohmann::json root = hf::parse_json_file(files_[1].bytes, path, "the list of special tokens");
  const hf::Field f(root, path);
  pattern_ = std::make_unique<Regex>(f.has("pattern") ? f.at("pattern").string() : std::string(kLlama3Pattern), RegexSyntax::kRust,
                                     path + ".pattern");
  const hf::Field list = f.at("special_tokens");
  if (!list.json().is_object()) list.fail("an object {text: id} belongs here");
  for (const auto& [text, id] : list.json().items()) {
    if (!id.is_number_integer()) list.fail("token \"" + text + "\" has no integer id");
    add_special(text, id.get<int64_t>(), path);
  }
}

void TiktokenTokenizer::use_llama3_specials() {
  pattern_ = std::make_unique<Regex>(kLlama3Pattern, RegexSyntax::kRust, "Llama 3's pattern");
  const std::vector<std::string> head = {"<|begin_of_text|>",
                                         "<|end_of_text|>",
                                         "<|reserved_special_token_0|>",
                                         "<|reserved_special_token_1|>",
                                         "<|finetune_right_pad_id|>",
                                         "<|step_id|>",
                                         "<|start_header_id|>",
                                         "<|end_header_id|>",
                                         "<|eom_id|>",
                                         "<|eot_id|>",
                                         "<|python_tag|>",
                                         "<|image|>"};
  const auto first = static_cast<int64_t>(tokens_.size());
  for (int64_t i = 0; i < kLlama3Specials; ++i) {
    const auto n = static_cast<int64_t>(head.size());
    add_special(i < n ? head[static_cast<size_t>(i)] : "<|reserved_special_token_" + std::to_string(i - n + 2) + "|>", first + i, "");
  }
}

void TiktokenTokenizer::add_special(const std::string& text, int64_t id, const std::string& where) {
  const auto first = static_cast<int64_t>(tokens_.size());
  if (id < first || id >= (1 << 24) || text.empty())
    throw Error(Code::kDataLoss, where + ": special token \"" + text + "\" has id " + std::to_string(id) + "; ids below " +
                                     std::to_string(first) + " are ranks");
  if (!specials_.emplace(static_cast<int32_t>(id), text).second)
    throw Error(Code::kDataLoss, where + ": two special tokens have id " + std::to_string(id));
  finder_.add(text, static_cast<size_t>(id));
}

std::unique_ptr<hf::WordCache> TiktokenTokenizer::take_cache() const {
  const std::lock_guard lock(mutex_);
  if (caches_.empty()) return std::make_unique<hf::WordCache>();
  std::unique_ptr<hf::WordCache> cache = std::move(caches_.back());
  caches_.pop_back();
  return cache;
}

void TiktokenTokenizer::give_back(std::unique_ptr<hf::WordCache> cache) const {
  const std::lock_guard lock(mutex_);
  caches_.push_back(std::move(cache));
}

void TiktokenTokenizer::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (const auto found = ranks_.find(word); found != ranks_.end()) {
    ids.push_back(found->second);
    return;
  }
  thread_local std::vector<hf::Symbol> symbols;
  symbols.clear();
  for (const char c : word) symbols.push_back({byte_ids_[static_cast<uint8_t>(c)], 1});
  merger_.merge(symbols);
  for (const hf::Symbol& s : symbols) ids.push_back(s.id);
}

template <class Push>
void TiktokenTokenizer::encode_text(std::string_view text, hf::WordCache& cache, Push&& push) const {
  pattern_->cut(text, [&](size_t begin, size_t end, bool) {
    if (begin == end) return;
    push(cache.get(text.substr(begin, end - begin), [this](std::string_view word, std::vector<int32_t>& ids) { encode_word(word, ids); }));
  });
}

void TiktokenTokenizer::encode_to(std::string_view text, const IdSink& ids) const {
  std::string storage;
  if (!is_valid_utf8(text)) text = storage = replace_invalid_utf8(text);
  std::unique_ptr<hf::WordCache> cache = take_cache();
  IdBuffer buffer(ids);
  const auto push = [&](std::span<const int32_t> piece) { buffer.push(piece); };
  size_t done = 0, id = 0;
  for (hf::Span found; finder_.find(text, done, found, id); done = found.end) {
    encode_text(text.substr(done, found.begin - done), *cache, push);
    buffer.push(static_cast<int32_t>(id));
  }
  encode_text(text.substr(done), *cache, push);
  buffer.flush();
  give_back(std::move(cache));
}

std::vector<int32_t> TiktokenTokenizer::encode_ordinary(std::string_view text) const {
  std::string storage;
  if (!is_valid_utf8(text)) text = storage = replace_invalid_utf8(text);
  hf::WordCache cache;
  std::vector<int32_t> out;
  encode_text(text, cache, [&](std::span<const int32_t> piece) { out.insert(out.end(), piece.begin(), piece.end()); });
  return out;
}

std::string TiktokenTokenizer::decode_bytes(std::span<const int32_t> ids) const {
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < static_cast<int64_t>(tokens_.size())) {
      out += tokens_[static_cast<size_t>(ids[i])];
      continue;
    }
    const auto special = specials_.find(ids[i]);
    if (special == specials_.end()) throw_bad_id(ids[i], i);
    out += special->second;
  }
  return out;
}

}  // namespace nemo::text

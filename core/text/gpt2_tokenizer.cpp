#include "core/text/gpt2_tokenizer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/text/id_buffer.hpp"

namespace nemo::text {

// Ids of words seen before. Text repeats itself: in English more than nine words of ten are found here.
class Gpt2Tokenizer::WordCache {
 public:
  std::span<const int32_t> encode(std::string_view word, const BytePairMerger& merger) {
    if (word.size() > kLongest) {
      long_word_.clear();
      merger.encode(word, long_word_);
      return long_word_;
    }
    if (const auto found = words_.find(word); found != words_.end()) return found->second;
    if (words_.size() >= kCapacity) words_.clear();
    std::vector<int32_t>& ids = words_[std::string(word)];
    merger.encode(word, ids);
    return ids;
  }

 private:
  static constexpr size_t kLongest = 64, kCapacity = 1 << 16;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words_;
  std::vector<int32_t> long_word_;
};

Gpt2Tokenizer::Gpt2Tokenizer(Gpt2Vocabulary vocabulary, std::vector<Merge> merges)
    : vocabulary_(std::move(vocabulary)), merges_(std::move(merges)), merger_(vocabulary_.byte_ids, merges_), splitter_(kGpt2Pattern) {
  const auto found = std::find(vocabulary_.bytes.begin(), vocabulary_.bytes.end(), kEndOfText);
  eos_ = found - vocabulary_.bytes.begin();
  if (found != vocabulary_.bytes.end()) return;
  vocabulary_.written.emplace_back(kEndOfText);
  vocabulary_.bytes.emplace_back(kEndOfText);
}

Gpt2Tokenizer::~Gpt2Tokenizer() = default;

std::unique_ptr<Gpt2Tokenizer::WordCache> Gpt2Tokenizer::take_cache() const {
  const std::lock_guard lock(mutex_);
  if (caches_.empty()) return std::make_unique<WordCache>();
  std::unique_ptr<WordCache> cache = std::move(caches_.back());
  caches_.pop_back();
  return cache;
}

void Gpt2Tokenizer::give_back(std::unique_ptr<WordCache> cache) const {
  const std::lock_guard lock(mutex_);
  caches_.push_back(std::move(cache));
}

void Gpt2Tokenizer::encode_to(std::string_view text, const IdSink& ids) const {
  std::unique_ptr<WordCache> cache = take_cache();
  IdBuffer buffer(ids);
  while (true) {
    const size_t special = text.find(kEndOfText);
    splitter_.split(text.substr(0, special), [&](std::string_view word) { buffer.push(cache->encode(word, merger_)); });
    if (special == std::string_view::npos) break;
    buffer.push(static_cast<int32_t>(eos_));
    text.remove_prefix(special + kEndOfText.size());
  }
  buffer.flush();
  give_back(std::move(cache));
}

std::string Gpt2Tokenizer::decode_bytes(std::span<const int32_t> ids) const {
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) throw_bad_id(ids[i], i);
    out += vocabulary_.bytes[static_cast<size_t>(ids[i])];
  }
  return out;
}

std::vector<TokenizerFile> Gpt2Tokenizer::files() const {
  return {{std::string(kTokenizerFile), R"({"type":"gpt2","vocab":)" + write_gpt2_vocabulary(vocabulary_) + R"(,"merges":)" +
                                            nlohmann::json(write_gpt2_merges(merges_, vocabulary_)).dump() + "}"}};
}

}  // namespace nemo::text

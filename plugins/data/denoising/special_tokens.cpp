#include "special_tokens.hpp"

namespace nemo::denoising {

using namespace sdk;

Field special_tokens_field() {
  return choice("special_tokens", "\"tokenizer\"",
                {{"tokenizer", "the tokenizer's own, found by their text"},
                 {"added", "ids behind the tokenizer's vocabulary, which the model's vocabulary then counts"}},
                "where the ids of special tokens come from");
}

bool adds_tokens(const Config& config) { return config.string("special_tokens") == "added"; }

int32_t token_of_text(const TokenizerView& tokenizer, const std::string& text, const char* setting) {
  std::vector<int32_t> ids;
  try {
    tokenizer.encode(text, [&](const int32_t* piece, size_t n) { ids.insert(ids.end(), piece, piece + n); });
  } catch (const Error& e) {
    config_fault(setting, "the tokenizer cannot read the special token \"" + text + "\" (" + e.what() +
                              "); name the tokenizer's own, or set special_tokens = \"added\"");
  }
  if (ids.size() != 1)
    config_fault(setting, "the tokenizer makes " + std::to_string(ids.size()) + " tokens of the special token \"" + text +
                              "\", which must be one; name the tokenizer's own, or set special_tokens = \"added\"");
  return ids[0];
}

int32_t special_token(const Config& config, const TokenizerView& tokenizer, const char* setting, int64_t place) {
  if (adds_tokens(config)) return static_cast<int32_t>(tokenizer.vocab_size() + place);
  return token_of_text(tokenizer, config.string(setting), setting);
}

}  // namespace nemo::denoising

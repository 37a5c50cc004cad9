// plugins/data/denoising/special_tokens.hpp - ids of special tokens: those of the tokenizer, found by their text, or ids behind its
// vocabulary.
#pragma once

#include <string>
#include <vector>

#include "nemo/cpp/data.hpp"

namespace nemo::denoising {

// Setting `special_tokens`.
[[nodiscard]] sdk::Field special_tokens_field();
[[nodiscard]] bool adds_tokens(const sdk::Config& config);

// The id of the text of setting `setting`: the one token that the tokenizer makes of it, or where tokens are added, the vocabulary's size
// + `place`. Throws a fault of `setting`.
[[nodiscard]] int32_t special_token(const sdk::Config& config, const sdk::TokenizerView& tokenizer, const char* setting, int64_t place);
// The same for a text that is not a setting as a whole.
[[nodiscard]] int32_t token_of_text(const sdk::TokenizerView& tokenizer, const std::string& text, const char* setting);

}  // namespace nemo::denoising

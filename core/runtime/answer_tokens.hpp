// core/runtime/answer_tokens.hpp - the tokens by which an encoder-decoder is asked and answers.
#pragma once

#include <memory>

#include "core/runtime/setup.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::runtime {

// The tokenizer with the tokens that the data added behind it, under the texts that the data's settings have for them (docs/denoising.md:
// pad, end of text, sentinels); as it is where the data added none.
[[nodiscard]] std::unique_ptr<text::Tokenizer> with_added_tokens(const Setup& setup, std::unique_ptr<text::Tokenizer> tokenizer);

// The token that begins the decoder's input: the data's pad. -1 where the data's settings do not say.
[[nodiscard]] int32_t start_of_answer(const Setup& setup, const text::Tokenizer& tokenizer);

// What the encoder reads for a prompt: its tokens with those that the tokenizer's files put around a text, and the end of text.
[[nodiscard]] std::vector<int32_t> source_of(const text::Tokenizer& tokenizer, const std::string& prompt);

}  // namespace nemo::runtime

// core/text/sentencepiece_tokenizer.hpp - a SentencePiece .model, run by libsentencepiece.
#pragma once

#include "core/text/tokenizer.hpp"

namespace nemo::text {

// Makes a tokenizer of type "sentencepiece". `files`: the model first, whatever its name; then perhaps "tokenizer_config.json", whose
// add_bos_token and add_eos_token say what encode_special adds. `where` is the model's path. Control pieces in a text are text; decode
// leaves them out. Throws Error(kDataLoss) for a file that is no model, Error(kUnsupported) in a build without libsentencepiece.
[[nodiscard]] std::unique_ptr<Tokenizer> make_sentencepiece(std::vector<TokenizerFile> files, const std::string& where);

}  // namespace nemo::text

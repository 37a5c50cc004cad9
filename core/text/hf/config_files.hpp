// core/text/hf/config_files.hpp - the JSON files that lie beside a tokenizer.json.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/tokenizer.hpp"

namespace nemo::text::hf {

// Throws Error(kDataLoss) with WHERE:line:column; `what` is the subject of the message.
[[nodiscard]] nlohmann::json parse_json_file(std::string_view json, std::string_view where, std::string_view what);

// The texts of the tokens that begin and end a document, where the files say.
struct EndTokens {
  std::optional<std::string> bos, eos;
};
// From tokenizer_config.json, else special_tokens_map.json. `where` is the path of the file beside them.
[[nodiscard]] EndTokens read_end_tokens(const std::vector<TokenizerFile>& files, std::string_view where);

}  // namespace nemo::text::hf

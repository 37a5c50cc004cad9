#include "core/text/hf/config_files.hpp"

#include <filesystem>

#include "core/base/error.hpp"
#include "core/text/text_file.hpp"

namespace nemo::text::hf {

nlohmann::json parse_json_file(std::string_view json, std::string_view where, std::string_view what) {
  try {
    return nlohmann::json::parse(json);
  } catch (const nlohmann::json::exception& e) {
    const auto* syntax = dynamic_cast<const nlohmann::json::parse_error*>(&e);
    const size_t byte = syntax == nullptr ? 0 : syntax->byte;
    const bool ended = byte > json.size();
    throw Error(Code::kDataLoss, place_in_text(where, json, byte == 0 ? 0 : byte - 1) + ": " + std::string(what) + " is no valid JSON" +
                                     (ended ? ": the file ends early (truncated?)" : ""));
  }
}

namespace {

// A token is written as a string or as {"content": string, ...}.
std::optional<std::string> token_text(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string()) return (*found)["content"].get<std::string>();
  return std::nullopt;
}

}  // namespace

EndTokens read_end_tokens(const std::vector<TokenizerFile>& files, std::string_view where) {
  EndTokens ends;
  for (const std::string_view name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    for (const TokenizerFile& f : files) {
      if (f.name != name) continue;
      const std::string path = (std::filesystem::path(where).parent_path() / f.name).string();
      const nlohmann::json object = parse_json_file(f.bytes, path, "this configuration");
      if (!object.is_object()) throw Error(Code::kDataLoss, path + ": an object belongs here, found " + object.type_name());
      if (!ends.bos) ends.bos = token_text(object, "bos_token");
      if (!ends.eos) ends.eos = token_text(object, "eos_token");
    }
  }
  return ends;
}

}  // namespace nemo::text::hf

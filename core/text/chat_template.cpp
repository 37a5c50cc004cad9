#include "core/text/chat_template.hpp"

#include "core/base/error.hpp"
#include "core/text/hf/config_files.hpp"
#include "core/text/jinja/template.hpp"
#include "core/text/text_file.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

namespace fs = std::filesystem;

// The template called "default" where there are several.
const nlohmann::json* default_template(const nlohmann::json& value) {
  if (value.is_string()) return &value;
  if (!value.is_array()) return nullptr;
  for (const auto& entry : value)
    if (entry.is_object() && entry.value("name", "") == "default" && entry.contains("template") && entry["template"].is_string())
      return &entry["template"];
  return nullptr;
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source, const std::string& where, std::string bos_token, std::string eos_token)
    : bos_token_(std::move(bos_token)), eos_token_(std::move(eos_token)) {
  if (!is_valid_utf8(source)) throw Error(Code::kDataLoss, where + ": the chat template is not UTF-8");
  template_ = std::make_unique<jinja::Template>(source, where);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::load(const fs::path& path) {
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  std::vector<TokenizerFile> files;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"})
    if (fs::is_regular_file(folder / name)) files.push_back({name, read_text_file(folder / name, "tokenizer configuration")});
  const hf::EndTokens ends = hf::read_end_tokens(files, (folder / "tokenizer_config.json").string());
  const fs::path own = folder / "chat_template.jinja";
  if (fs::is_regular_file(own)) return {read_text_file(own, "chat template"), own.string(), ends.bos.value_or(""), ends.eos.value_or("")};
  const std::string where = (folder / "tokenizer_config.json").string();
  if (!files.empty() && files[0].name == "tokenizer_config.json") {
    const nlohmann::json config = hf::parse_json_file(files[0].bytes, where, "this configuration");
    if (config.contains("chat_template"))
      if (const nlohmann::json* source = default_template(config["chat_template"]))
        return {source->get<std::string>(), where + ": chat_template", ends.bos.value_or(""), ends.eos.value_or("")};
  }
  throw Error(
      Code::kNotFound,
      folder.string() + ": no chat template here; looked for chat_template.jinja and for \"chat_template\" in tokenizer_config.json");
}

std::string ChatTemplate::render(const nlohmann::ordered_json& messages, Turn end, const nlohmann::ordered_json& variables) const {
  jinja::Evaluator::Variables seen;
  try {
    seen["messages"] = jinja::Value::from_json(messages);
    for (const auto& [name, value] : variables.items()) seen[name] = jinja::Value::from_json(value);
  } catch (const jinja::Fault& fault) {
    throw Error(Code::kInvalidArgument, "chat messages: " + fault.message);
  }
  seen.try_emplace("add_generation_prompt", jinja::Value(end == Turn::kAssistant));
  seen.try_emplace("bos_token", jinja::Value(bos_token_));
  seen.try_emplace("eos_token", jinja::Value(eos_token_));
  seen.try_emplace("tools", jinja::Value(jinja::None{}));
  seen.try_emplace("documents", jinja::Value(jinja::None{}));
  return template_->render(std::move(seen));
}

}  // namespace nemo::text

// core/text/chat_template.hpp - the chat template of a tokenizer folder: how messages become one text.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

namespace nemo::text {

namespace jinja {
class Template;
}

// What the rendered text ends with.
enum class Turn { kNone, kAssistant };

// Renders as transformers' apply_chat_template does: Jinja2 with trim_blocks, lstrip_blocks, loop controls, tojson, raise_exception and
// strftime_now. Immutable after construction; any thread may render.
class ChatTemplate {
 public:
  // `source` is the template, `where` its place in messages; the tokens are what bos_token and eos_token are in it. Throws
  // Error(kDataLoss) with WHERE:line for what is no template.
  ChatTemplate(const std::string& source, const std::string& where, std::string bos_token, std::string eos_token);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // From a folder (or a file in it): chat_template.jinja, else "chat_template" of tokenizer_config.json (the one named "default" of
  // several). Throws Error(kNotFound) where there is none.
  [[nodiscard]] static ChatTemplate load(const std::filesystem::path& path);

  // `messages` is a list of objects; `variables`, an object, adds to what the template sees. Throws Error(kInvalidArgument) with what
  // raise_exception was given, or for an undefined or ill-typed value, with WHERE:line.
  [[nodiscard]] std::string render(const nlohmann::ordered_json& messages, Turn end,
                                   const nlohmann::ordered_json& variables = nlohmann::ordered_json::object()) const;

 private:
  std::unique_ptr<jinja::Template> template_;
  std::string bos_token_, eos_token_;
};

}  // namespace nemo::text

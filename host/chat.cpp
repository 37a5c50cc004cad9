#include "host/chat.hpp"

#include <poll.h>
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/hub/import.hpp"
#include "core/text/chat_template.hpp"
#include "core/text/text_file.hpp"
#include "host/program.hpp"

namespace nemo::host {
namespace {

using nlohmann::ordered_json;
using text::ChatTemplate;
using text::Turn;

constexpr const char* kSpace = " \t\r\n";

ordered_json message(const char* role, const std::string& content) { return {{"role", role}, {"content", content}}; }

// Waits for a line on the terminal; false where the user interrupts instead. A signal may come before the wait and to any thread, so none
// is relied on to end it.
bool line_comes() {
  constexpr int kMilliseconds = 100;
  pollfd terminal{STDIN_FILENO, POLLIN, 0};
  while (!interrupted())
    if (poll(&terminal, 1, kMilliseconds) > 0) return true;
  return false;
}

// What the template puts behind a reply, without the space around it; empty where that is nothing.
std::string end_of_reply(const ChatTemplate& chat_template) {
  const std::string reply = "nemo-host-reply";
  const std::string rendered = chat_template.render({message("user", "?"), message("assistant", reply)}, Turn::kNone);
  const size_t at = rendered.rfind(reply);
  if (at == std::string::npos) return "";
  const std::string rest = rendered.substr(at + reply.size());
  const size_t first = rest.find_first_not_of(kSpace);
  return first == std::string::npos ? "" : rest.substr(first, rest.find_last_not_of(kSpace) + 1 - first);
}

// The texts of the tokens that generation_config.json ends at.
std::vector<std::string> ends_of_generation(const std::filesystem::path& checkpoint, const text::Tokenizer& tokenizer) {
  const std::filesystem::path path = checkpoint / hub::kKeptGeneration;
  if (!std::filesystem::exists(path)) return {};
  const nlohmann::json config = nlohmann::json::parse(text::read_text_file(path, "generation settings"), nullptr, false);
  nlohmann::json ids = config.is_object() ? config.value("eos_token_id", nlohmann::json()) : nlohmann::json();
  if (!ids.is_array()) ids = nlohmann::json::array({ids});
  std::vector<std::string> out;
  for (const auto& id : ids) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= tokenizer.vocab_size()) continue;
    const std::vector<int32_t> one{id.get<int32_t>()};
    if (std::string ending = tokenizer.decode(one); !ending.empty()) out.push_back(std::move(ending));
  }
  return out;
}

}  // namespace

void chat(runtime::TextGenerator& generator, const std::filesystem::path& checkpoint, runtime::GenerateSettings settings,
          const std::optional<std::string>& system, std::istream& in, std::ostream& out, bool prompt_mark) {
  const ChatTemplate chat_template = ChatTemplate::load(checkpoint / "tokenizer");
  for (std::string& ending : ends_of_generation(checkpoint, generator.tokenizer())) settings.stop.push_back(std::move(ending));
  if (std::string ending = end_of_reply(chat_template); !ending.empty()) settings.stop.push_back(std::move(ending));
  ordered_json messages = ordered_json::array();
  if (system) messages.push_back(message("system", *system));
  const auto ask = [&] { return prompt_mark ? static_cast<bool>(out << "> " << std::flush) && line_comes() : true; };
  for (std::string line; !interrupted() && ask() && std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(kSpace) == std::string::npos) continue;
    messages.push_back(message("user", line));
    const auto tokens = generator.encode(chat_template.render(messages, Turn::kAssistant));
    const auto replies = generator.generate({tokens}, settings, [&](size_t, const std::string& piece) { out << piece << std::flush; });
    out << "\n" << std::flush;
    messages.push_back(message("assistant", replies[0].text));
    if (prompt_mark && replies[0].ending == runtime::Ending::kInterrupted) forget_interrupt();  // the reply ends, not the conversation
  }
  if (prompt_mark) out << "\n" << std::flush;
}

}  // namespace nemo::host

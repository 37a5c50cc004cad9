// host/tokenize.cpp - shows what a tokenizer makes of text, line by line for other programs, and how a chat is written.

#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/text/chat_template.hpp"
#include "core/text/text_file.hpp"
#include "core/text/tokenizer.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

namespace {

enum class Specials { kLeaveOut, kAdd };

std::vector<int32_t> encode(const text::Tokenizer& tokenizer, const std::string& text, Specials specials) {
  return specials == Specials::kAdd ? tokenizer.encode_special(text) : tokenizer.encode(text);
}

// {"text": ...} lines in, {"ids": [...], "decoded": ...} lines out.
int tokenize_lines(const text::Tokenizer& tokenizer, Specials specials) {
  std::string line;
  for (size_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("text") || !row["text"].is_string())
      throw Error(Code::kDataLoss, "standard input, line " + std::to_string(number) + ": expected {\"text\": \"...\"}");
    const std::vector<int32_t> ids = encode(tokenizer, row["text"].get<std::string>(), specials);
    std::cout << R"({"ids": )" << nlohmann::json(ids).dump() << R"(, "decoded": )" << nlohmann::json(tokenizer.decode(ids)).dump() << "}\n";
    if (interrupted()) return kInterrupted;
  }
  std::cout.flush();
  return kDone;
}

// Ids with the text of each, so that one sees where it was cut.
int show(const text::Tokenizer& tokenizer, const std::string& text, Specials specials) {
  const std::vector<int32_t> ids = encode(tokenizer, text, specials);
  for (const int32_t id : ids) std::cout << id << "\t" << nlohmann::json(tokenizer.decode({&id, 1})).dump() << "\n";
  std::cout << ids.size() << " tokens, " << text.size() << " bytes, vocabulary of " << tokenizer.vocab_size() << " (" << tokenizer.type()
            << ")\n";
  return kDone;
}

int show_chat(const std::string& path, const std::string& messages_file, const po::variables_map& values) {
  const text::ChatTemplate chat = text::ChatTemplate::load(path);
  const std::string source = text::read_text_file(messages_file, "messages");
  nlohmann::ordered_json messages = nlohmann::ordered_json::parse(source, nullptr, false);
  if (messages.is_object() && messages.contains("messages")) messages = nlohmann::ordered_json(messages["messages"]);
  if (!messages.is_array())
    throw Error(Code::kDataLoss,
                messages_file + ": expected a JSON list [{\"role\": ..., \"content\": ...}, ...], or an object with \"messages\"");
  std::cout << chat.render(messages, values.count("add-generation-prompt") ? text::Turn::kAssistant : text::Turn::kNone) << std::flush;
  return kDone;
}

}  // namespace

int tokenize(const std::vector<std::string>& arguments) {
  const std::string usage =
      "nemo-host tokenize --tokenizer PATH TEXT\n"
      "       nemo-host tokenize --tokenizer PATH --jsonl [--special] < lines\n"
      "       nemo-host tokenize --tokenizer PATH --chat messages.json [--add-generation-prompt]";
  po::options_description options("options");
  options.add_options()("tokenizer", po::value<std::string>(), "a folder, tokenizer.json, or .model file")(
      "jsonl", "read {\"text\": ...} lines from standard input, write {\"ids\": [...], \"decoded\": ...} lines")(
      "special", "add the special tokens that the tokenizer's files put around a text")(
      "chat", po::value<std::string>(), "render the messages of a JSON file with the tokenizer's chat template")(
      "add-generation-prompt", "with --chat: end where the assistant's answer begins");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  if (!parsed.values.count("tokenizer")) throw Error(Code::kConfig, "--tokenizer is missing\nusage: " + usage);
  const auto path = parsed.values["tokenizer"].as<std::string>();
  const Specials specials = parsed.values.count("special") ? Specials::kAdd : Specials::kLeaveOut;
  if (parsed.values.count("chat")) return show_chat(path, parsed.values["chat"].as<std::string>(), parsed.values);
  const bool lines = parsed.values.count("jsonl") > 0;
  if (lines == !parsed.positional.empty() || parsed.positional.size() > 1)
    throw Error(Code::kConfig, "give one TEXT (in quotes), or --jsonl\nusage: " + usage);
  const auto tokenizer = text::load_tokenizer(path);
  return lines ? tokenize_lines(*tokenizer, specials) : show(*tokenizer, parsed.positional[0], specials);
}

}  // namespace nemo::host

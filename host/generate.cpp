// host/generate.cpp - continues one prompt as it comes, or a file of prompts in batches, or a conversation.

#include <fstream>
#include <iostream>
#include <utility>

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/runtime/generate.hpp"
#include "host/chat.hpp"
#include "host/imported.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {
namespace {

namespace po = boost::program_options;
using nlohmann::json;
using runtime::Ending;
using runtime::TextGenerator;

po::options_description generate_options() {
  po::options_description options("options");
  options.add_options()("checkpoint", po::value<std::string>(), "checkpoint or run folder (its newest checkpoint)")(
      "prompt", po::value<std::string>(),
      "text to continue; it and what follows are printed as they come (by an encoder-decoder: the answer to it)")(
      "prompts", po::value<std::string>(),
      R"(JSON lines {"prompt": ...}, or - for standard input; prints {"prompt", "text", "ending"} lines)")(
      "chat", po::bool_switch(), "answer the lines of standard input as a conversation, through the checkpoint's chat template")(
      "system", po::value<std::string>(), "with --chat: the system message")("batch", po::value<int64_t>()->default_value(8),
                                                                             "with --prompts: how many are continued at once")(
      "max-tokens", po::value<int64_t>()->default_value(200), "tokens to generate")(
      "temperature", po::value<double>()->default_value(1.0), "0 = greedy")("top-k", po::value<int64_t>()->default_value(0),
                                                                            "draw from the k most likely tokens; 0 = all")(
      "top-p", po::value<double>()->default_value(1.0), "draw from the most likely tokens that reach this probability")(
      "stop", po::value<std::vector<std::string>>()->composing(), "text that ends a continuation; may be given several times")(
      "seed", po::value<int64_t>()->default_value(1234), "of the draws");
  return options;
}

runtime::GenerateSettings settings_of(const po::variables_map& values) {
  runtime::GenerateSettings settings{
      values["max-tokens"].as<int64_t>(),
      {values["temperature"].as<double>(), values["top-k"].as<int64_t>(), values["top-p"].as<double>(), values["seed"].as<int64_t>()}};
  if (values.count("stop")) settings.stop = values["stop"].as<std::vector<std::string>>();
  const runtime::SamplingSettings& s = settings.sampling;
  if (!(s.temperature >= 0 && s.top_k >= 0 && s.top_p > 0 && s.top_p <= 1 && settings.max_tokens >= 0))
    throw Error(Code::kConfig, "--temperature and --top-k must be >= 0, --top-p in (0, 1], --max-tokens >= 0");
  return settings;
}

std::vector<std::string> read_prompts(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path);
  if (path != "-" && !file) throw Error(Code::kNotFound, "cannot open the prompts '" + path + "'");
  std::istream& in = path == "-" ? std::cin : file;
  std::vector<std::string> prompts;
  std::string line;
  for (int64_t n = 1; std::getline(in, line); ++n) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const json row = json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("prompt") || !row["prompt"].is_string())
      throw Error(Code::kDataLoss, path + ":" + std::to_string(n) + R"(: expected a JSON object with a text "prompt")");
    prompts.push_back(row["prompt"].get<std::string>());
  }
  return prompts;
}

const char* word(Ending ending) {
  switch (ending) {
    case Ending::kMaxTokens:
      return "max_tokens";
    case Ending::kEndOfText:
      return "end_of_text";
    case Ending::kStop:
      return "stop";
    case Ending::kInterrupted:
      return "interrupted";
  }
  return "";
}

void continue_one(TextGenerator& generator, const std::string& prompt, const runtime::GenerateSettings& settings) {
  std::string pending = generator.answers() ? "" : prompt;  // not shown before the first token, so that an error stands alone
  (void)generator.generate({generator.encode(prompt)}, settings,
                           [&](size_t, const std::string& piece) { std::cout << std::exchange(pending, "") << piece << std::flush; });
  std::cout << pending << "\n";
}

void continue_file(TextGenerator& generator, const std::vector<std::string>& prompts, const runtime::GenerateSettings& settings) {
  const auto batch = static_cast<size_t>(generator.model().batch());
  for (size_t first = 0; first < prompts.size() && !interrupted(); first += batch) {
    std::vector<std::vector<int32_t>> tokens;
    for (size_t n = first; n < std::min(prompts.size(), first + batch); ++n) tokens.push_back(generator.encode(prompts[n]));
    const auto results = generator.generate(tokens, settings, [](size_t, const std::string&) {});
    for (size_t n = 0; n < results.size(); ++n)
      std::cout << json{{"prompt", prompts[first + n]}, {"text", results[n].text}, {"ending", word(results[n].ending)}}.dump() << std::endl;
  }
}

// Exactly one source of prompts, and options that belong to it.
void check_source(const po::variables_map& values, const std::string& usage) {
  const bool talk = values["chat"].as<bool>(), one = values.count("prompt") != 0, file = values.count("prompts") != 0;
  std::string fault;
  if (one && file)
    fault = "--prompt and --prompts exclude each other";
  else if (talk && (one || file))
    fault = "--chat reads standard input; it excludes --prompt and --prompts";
  else if (!talk && !one && !file)
    fault = "--prompt is missing";
  else if (values.count("system") && !talk)
    fault = "--system belongs to --chat";
  if (!fault.empty()) throw Error(Code::kConfig, fault + "\nusage: " + usage);
}

}  // namespace

int generate(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage =
      "nemo-host generate --checkpoint DIR (--prompt TEXT | --prompts FILE | --chat [--system TEXT]) [options] [section.key=value ...]";
  const Parsed parsed = parse(arguments, usage, generate_options());
  if (parsed.help) return kDone;
  if (!parsed.values.count("checkpoint")) throw Error(Code::kConfig, "--checkpoint is missing\nusage: " + usage);
  check_source(parsed.values, usage);
  require_overrides(parsed.positional);
  const bool file = parsed.values.count("prompts") != 0;
  const runtime::GenerateSettings settings = settings_of(parsed.values);
  const std::vector<std::string> prompts = file ? read_prompts(parsed.values["prompts"].as<std::string>()) : std::vector<std::string>{};
  const int64_t batch =
      file ? std::min(parsed.values["batch"].as<int64_t>(), static_cast<int64_t>(std::max<size_t>(prompts.size(), 1))) : 1;
  if (batch < 1) throw Error(Code::kConfig, "--batch must be at least 1");
  const std::filesystem::path checkpoint = runtime::find_checkpoint(parsed.values["checkpoint"].as<std::string>());
  const config::Document document = checkpoint_document(checkpoint, parsed.positional);
  const runtime::RunContext context = program.context();
  const runtime::Setup setup = runtime::make_setup(document, program.registry(document), context.warn);
  TextGenerator generator(setup, context, checkpoint, batch);
  if (const int32_t start = imported_start(checkpoint); start >= 0) generator.start_answers_with(start);
  if (file) {
    continue_file(generator, prompts, settings);
  } else if (parsed.values["chat"].as<bool>()) {
    if (generator.answers())
      throw Error(Code::kUnsupported,
                  "model '" + setup.model->id + "' answers single prompts (--prompt, --prompts); --chat needs a decoder");
    std::optional<std::string> system;
    if (parsed.values.count("system")) system = parsed.values["system"].as<std::string>();
    chat(generator, checkpoint, settings, system, std::cin, std::cout, isatty(STDIN_FILENO) != 0);
  } else {
    continue_one(generator, parsed.values["prompt"].as<std::string>(), settings);
  }
  return interrupted() ? kInterrupted : kDone;
}

}  // namespace nemo::host

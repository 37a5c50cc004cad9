// host/evaluate.cpp - perplexity of texts and multiple-choice accuracy of a checkpoint.

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/runtime/score.hpp"
#include "core/text/text_file.hpp"
#include "host/imported.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

namespace {

// One question: the texts, and which of them is right.
struct Question {
  std::string context;
  std::vector<std::string> choices;
  size_t answer = 0;
};

const nlohmann::json& member(const nlohmann::json& row, std::initializer_list<const char*> names, const std::string& where) {
  for (const char* name : names)
    if (row.contains(name)) return row[name];
  throw Error(Code::kDataLoss, where + ": the field \"" + *names.begin() + "\" is missing");
}

// An index, the letter or number of a choice, or its text.
size_t answer_of(const nlohmann::json& answer, const std::vector<std::string>& choices, const std::string& where) {
  size_t index = choices.size();
  if (answer.is_number_integer() && answer.get<int64_t>() >= 0) index = static_cast<size_t>(answer.get<int64_t>());
  if (answer.is_string()) {
    const auto text = answer.get<std::string>();
    for (size_t i = 0; i < choices.size(); ++i)
      if (choices[i] == text) return i;
    if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z') index = static_cast<size_t>(text[0] - 'A');
    if (text.size() == 1 && text[0] >= '0' && text[0] <= '9') index = static_cast<size_t>(text[0] - '0');
  }
  if (index >= choices.size())
    throw Error(Code::kDataLoss,
                where + ": \"answer\" " + answer.dump() + " is none of the " + std::to_string(choices.size()) + " choices");
  return index;
}

Question read_question(const std::string& line, const std::string& where) {
  const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
  if (!row.is_object()) throw Error(Code::kDataLoss, where + ": not a JSON object");
  const nlohmann::json& context = member(row, {"context", "question", "query", "ctx"}, where);
  const nlohmann::json& choices = member(row, {"choices", "endings", "options"}, where);
  Question q;
  if (!context.is_string()) throw Error(Code::kDataLoss, where + ": \"context\" is no string");
  q.context = context.get<std::string>();
  for (const auto& c : choices) {
    if (!c.is_string()) throw Error(Code::kDataLoss, where + ": \"choices\" is no list of strings");
    q.choices.push_back(c.get<std::string>());
  }
  if (q.choices.size() < 2) throw Error(Code::kDataLoss, where + ": at least two \"choices\" are needed");
  q.answer = answer_of(member(row, {"answer", "label", "gold"}, where), q.choices, where);
  return q;
}

size_t best(const std::vector<double>& scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

void print_share(const char* name, int64_t right, int64_t n) {
  const double p = static_cast<double>(right) / static_cast<double>(std::max<int64_t>(n, 1));
  std::printf("%-20s %.4f +- %.4f\n", name, p, n > 1 ? std::sqrt(p * (1 - p) / static_cast<double>(n - 1)) : 0.0);
}

int evaluate_choices(runtime::Scorer& scorer, const std::string& file) {
  std::ifstream in(file);
  if (!in) throw Error(Code::kNotFound, file + ": cannot be read");
  int64_t n = 0, right = 0, right_normalised = 0, number = 0;
  for (std::string line; std::getline(in, line) && !interrupted();) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Question q = read_question(line, file + ":" + std::to_string(number));
    std::vector<double> plain, normalised;
    for (const std::string& choice : q.choices) {
      const bool joined = q.context.empty() || choice.starts_with(' ') || std::isspace(static_cast<unsigned char>(q.context.back()));
      plain.push_back(runtime::log_likelihood(scorer, q.context, joined ? choice : " " + choice));
      normalised.push_back(plain.back() / static_cast<double>(std::max<size_t>(choice.size(), 1)));
    }
    right += best(plain) == q.answer ? 1 : 0;
    right_normalised += best(normalised) == q.answer ? 1 : 0;
    ++n;
  }
  std::printf("%s: %lld questions\n", file.c_str(), static_cast<long long>(n));
  print_share("accuracy", right, n);
  print_share("accuracy_normalised", right_normalised, n);
  return interrupted() ? kInterrupted : kDone;
}

int evaluate_texts(runtime::Scorer& scorer, const std::vector<std::string>& files, int64_t stride) {
  runtime::Perplexity total;
  const auto print = [](const std::string& name, const runtime::Perplexity& p) {
    std::printf("%-40s %10lld tokens  perplexity %12.5f  bits/byte %8.5f\n", name.c_str(), static_cast<long long>(p.tokens), p.per_token(),
                p.bits_per_byte());
    std::fflush(stdout);
  };
  for (const std::string& file : files) {
    const runtime::Perplexity p = runtime::perplexity(scorer, text::read_text_file(file, "text"), stride, [] { return !interrupted(); });
    if (interrupted()) return kInterrupted;
    print(file, p);
    total.nats += p.nats;
    total.tokens += p.tokens;
    total.bytes += p.bytes;
  }
  if (files.size() > 1) print("all", total);
  return kDone;
}

}  // namespace

int evaluate(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage =
      "nemo-host evaluate --checkpoint DIR --text FILE... [--stride N] [section.key=value ...]\n"
      "       nemo-host evaluate --checkpoint DIR --choices FILE.jsonl [section.key=value ...]";
  po::options_description options("options");
  options.add_options()("checkpoint", po::value<std::string>(), "checkpoint or run folder (its newest checkpoint)")(
      "text", po::value<std::vector<std::string>>()->composing(), "a text file whose perplexity is measured; may be given more than once")(
      "stride", po::value<int64_t>()->default_value(0), "tokens by which windows move on; 0 = half a window")(
      "choices", po::value<std::string>(), "JSON lines {\"context\": ..., \"choices\": [...], \"answer\": index}");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  std::vector<std::string> texts, overrides;
  if (parsed.values.count("text")) texts = parsed.values["text"].as<std::vector<std::string>>();
  for (const std::string& p : parsed.positional) (p.find('=') == std::string::npos && !texts.empty() ? texts : overrides).push_back(p);
  require_overrides(overrides);
  if (!parsed.values.count("checkpoint")) throw Error(Code::kConfig, "--checkpoint is missing\nusage: " + usage);
  if (texts.empty() == !parsed.values.count("choices")) throw Error(Code::kConfig, "give --text or --choices\nusage: " + usage);
  const std::filesystem::path checkpoint = runtime::find_checkpoint(parsed.values["checkpoint"].as<std::string>());
  const config::Document document = checkpoint_document(checkpoint, overrides);
  const runtime::RunContext context = program.context();
  const runtime::Setup setup = runtime::make_setup(document, program.registry(document), context.warn);
  runtime::Scorer scorer(setup, context, checkpoint);
  if (const int32_t start = imported_start(checkpoint); start >= 0) scorer.start_answers_with(start);
  if (parsed.values.count("choices")) return evaluate_choices(scorer, parsed.values["choices"].as<std::string>());
  const int64_t stride = parsed.values["stride"].as<int64_t>();
  if (stride < 0 || stride > scorer.window()) throw Error(Code::kConfig, "--stride must be 0 to " + std::to_string(scorer.window()));
  return evaluate_texts(scorer, texts, stride > 0 ? stride : std::max<int64_t>(scorer.window() / 2, 1));
}

}  // namespace nemo::host

// host/data.cpp - prepares texts for training.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "core/base/error.hpp"
#include "core/text/prepare.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void print_bar(const text::PrepareProgress& p, double seconds) {
  constexpr int kWidth = 30;
  const double share = p.total_bytes == 0 ? 1 : static_cast<double>(p.bytes) / static_cast<double>(p.total_bytes);
  const double rate = static_cast<double>(p.bytes - p.resumed_bytes) / 1e6 / std::max(seconds, 1e-9);
  std::string bar(static_cast<size_t>(share * kWidth), '#');
  bar.resize(kWidth, '.');
  std::fprintf(stderr, "\r[%s] %5.1f %%  %.1f MB/s  %llu documents  %llu tokens ", bar.c_str(), 100 * share, rate,
               static_cast<unsigned long long>(p.documents), static_cast<unsigned long long>(p.tokens));
}

int prepare(const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host data prepare --input FILE... --tokenizer PATH --output-prefix P [options]";
  po::options_description options("options");
  options.add_options()("input", po::value<std::vector<std::string>>()->composing(),
                        ".jsonl: a document a line; other files: one document each; may be given more than once")(
      "tokenizer", po::value<std::string>(), "a folder, tokenizer.json, or .model file; byte for bytes")(
      "output-prefix", po::value<std::string>(), "the result is P.bin and P.idx")(
      "json-key", po::value<std::string>()->default_value("text"), "field of a .jsonl line that has the text")(
      "append-eod", "put the end-of-text token behind every document")(
      "split-lines", "a sequence per line, for tasks about sentences; an empty line of a text file ends a document")(
      "workers", po::value<int>()->default_value(static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))), "threads");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  text::PrepareSettings settings;
  if (parsed.values.count("input"))
    for (const std::string& file : parsed.values["input"].as<std::vector<std::string>>()) settings.inputs.emplace_back(file);
  for (const std::string& file : parsed.positional) settings.inputs.emplace_back(file);
  if (settings.inputs.empty()) throw Error(Code::kConfig, "--input is missing\nusage: " + usage);
  for (const char* needed : {"tokenizer", "output-prefix"})
    if (!parsed.values.count(needed)) throw Error(Code::kConfig, std::string("--") + needed + " is missing\nusage: " + usage);
  settings.output_prefix = parsed.values["output-prefix"].as<std::string>();
  settings.json_key = parsed.values["json-key"].as<std::string>();
  settings.append_eod = parsed.values.count("append-eod") > 0;
  settings.split_lines = parsed.values.count("split-lines") > 0;
  settings.workers = parsed.values["workers"].as<int>();
  if (settings.workers < 1 || settings.workers > 4096) throw Error(Code::kConfig, "--workers must be 1 to 4096");
  const auto path = parsed.values["tokenizer"].as<std::string>();
  const auto tokenizer = path == "byte" ? text::make_tokenizer("byte", {}, {}) : text::load_tokenizer(path);
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const Clock::time_point start = Clock::now();
  text::PrepareProgress result;
  const bool whole = text::prepare(
      *tokenizer, settings,
      [&](const text::PrepareProgress& p) {
        if (terminal) print_bar(p, seconds_since(start));
        return !interrupted();
      },
      result);
  if (terminal) std::fputc('\n', stderr);
  if (!whole) {
    std::fprintf(stderr, "interrupted; the same command goes on from here\n");
    return kInterrupted;
  }
  const double seconds = seconds_since(start), fresh = static_cast<double>(result.bytes - result.resumed_bytes) / 1e6;
  std::printf(
      "%s.bin and .idx: %llu documents, %llu tokens of %.1f MB text (%.1f MB of it done before), %.1f s, %.1f MB/s (%.1f MB a CPU "
      "second)\n",
      settings.output_prefix.c_str(), static_cast<unsigned long long>(result.documents), static_cast<unsigned long long>(result.tokens),
      static_cast<double>(result.bytes) / 1e6, static_cast<double>(result.resumed_bytes) / 1e6, seconds, fresh / seconds,
      fresh * CLOCKS_PER_SEC / static_cast<double>(std::max<std::clock_t>(std::clock(), 1)));
  return kDone;
}

}  // namespace

int data(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0] == "prepare") return prepare({arguments.begin() + 1, arguments.end()});
  throw Error(Code::kConfig, "usage: nemo-host data prepare --input FILE... --tokenizer PATH --output-prefix P [options]");
}

}  // namespace nemo::host

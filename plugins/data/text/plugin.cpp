// plugins/data/text/plugin.cpp - plain text files: tokenised when opened, cut into windows.
#include <array>
#include <numeric>

#include "documents.hpp"
#include "nemo/cpp/plugin.hpp"
#include "text_source.hpp"

namespace nemo::text_data {
namespace {

using namespace nemo::sdk;

const Schema& schema() {
  static const Schema instance({
      list("files", NEMO_FIELD_PATH, "",
           "text files or globs, UTF-8; the training text, and the rest of the split where validation_files is empty")
          .required(),
      list("validation_files", NEMO_FIELD_PATH, "[]",
           "text files or globs for validation; if set, `split` is not used and all of `files` is for training"),
      list("split", NEMO_FIELD_FLOAT, "[0.9, 0.1]",
           "shares of train, validation and test (one to three numbers, scaled to sum 1): consecutive parts of the row of tokens")
          .min(0),
      choice("sampling", "\"shuffled_windows\"",
             {{"shuffled_windows", "windows seq_length apart, each once per epoch, in a new random order each epoch"},
              {"random", "windows that start at any token, drawn anew for each sample; endless"}},
             "order of the training samples; validation and test always go through their windows in order"),
      string("document_separator", "\"\"",
             "text between documents within a file, left out of the tokens; empty: each file is one document. Documents are joined with "
             "the tokenizer's end-of-text token"),
  });
  return instance;
}

// Tokens [begin, end) of the named split; empty where the settings do not have it.
struct Range {
  int64_t begin = 0, end = 0;
  bool present = false;
};

Range part_of(const std::vector<double>& shares, const std::string& split, int64_t tokens) {
  constexpr std::array<std::string_view, 3> kSplits = {"train", "validation", "test"};
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (shares.empty() || shares.size() > 3 || !(sum > 0))
    config_fault("split", "split is one to three shares (train, validation, test) with a sum above 0, for example [0.9, 0.1]");
  double before = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    const double after = before + shares[i];
    const auto boundary = [&](double share) {
      return share == sum ? tokens : static_cast<int64_t>(static_cast<double>(tokens) * (share / sum));
    };
    if (kSplits[i] == split && shares[i] > 0) return {boundary(before), boundary(after), true};
    before = after;
  }
  return {};
}

void check_length(const Range& range, const DataRequest& request, int64_t all_tokens, const std::string& setting) {
  const int64_t found = range.end - range.begin, needed = request.seq_length + 1;
  if (found >= needed) return;
  config_fault(setting, "the " + request.split + " text has " + std::to_string(found) + " tokens (of " + std::to_string(all_tokens) +
                            " in the files), but one window of seq_length + 1 needs " + std::to_string(needed) +
                            "; give more text, a larger share, or a smaller seq_length");
}

uint64_t stream_key(const DataRequest& request) {
  uint64_t key = mix64(static_cast<uint64_t>(request.seed));
  for (const char c : request.split) key = mix64(key ^ static_cast<uint8_t>(c));
  return key;
}

std::unique_ptr<SampleSource> open(const Config& config, const DataRequest& request) {
  if (!request.tokenizer) config_fault("files", "text data needs a tokenizer; choose byte, char or gpt2");
  const std::string separator = config.string("document_separator");
  if (!separator.empty() && request.tokenizer.eos() < 0)
    config_fault("document_separator",
                 "document_separator needs a tokenizer with an end-of-text token (gpt2), or documents would run into each other");

  const std::vector<std::string> validation_patterns = config.strings("validation_files");
  const bool separate = !validation_patterns.empty();
  const bool train = request.split == "train";
  const std::string setting = separate && !train ? "validation_files" : "files";
  if (separate && !train && request.split != "validation") return nullptr;
  if (!separate && !part_of(config.numbers("split"), request.split, 0).present) return nullptr;

  const std::vector<std::string> files = find_files(setting == "files" ? config.strings("files") : validation_patterns, setting);
  TokenRow row = tokenize(files, request.tokenizer, separator);
  const int64_t tokens = row.size();
  const Range range = separate ? Range{0, tokens, true} : part_of(config.numbers("split"), request.split, tokens);
  check_length(range, request, tokens, setting);
  const Sampling sampling = !train                                  ? Sampling::kInOrder
                            : config.string("sampling") == "random" ? Sampling::kRandom
                                                                    : Sampling::kShuffledWindows;
  return std::make_unique<TextSource>(std::move(row), range.begin, range.end, request.seq_length, sampling, stream_key(request));
}

void corpus(const Config& config, const nemo_sink& sink) {
  for (const char* setting : {"files", "validation_files"}) {
    const std::vector<std::string> patterns = config.strings(setting);
    if (patterns.empty()) continue;
    for_each_text(find_files(patterns, setting), [&](std::string_view text) { check(sink.write(sink.ctx, text.data(), text.size())); });
  }
}

constexpr nemo_data_api kApi = data_api<open, nullptr, corpus>();

}  // namespace
}  // namespace nemo::text_data

NEMO_PLUGIN("data:text\0",
            nemo::sdk::component(NEMO_KIND_DATA, "text", "1.0.0", "plain text files, tokenised when opened and cut into windows",
                                 &nemo::text_data::kApi, nemo::text_data::schema().get()))

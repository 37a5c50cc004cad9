#include "settings.hpp"

#include <cmath>
#include <numeric>

#include "nemo/cpp/text_files.hpp"

namespace nemo::denoising {

using namespace sdk;

std::vector<Field> with_corpus(const char* files_doc, const char* split_doc, std::vector<Field> own) {
  std::vector<Field> all{
      list("files", NEMO_FIELD_PATH, "[]", files_doc),
      list("paths", NEMO_FIELD_STRING, "[]", "or Megatron datasets: prefixes (paths without .bin/.idx), made with the run's tokenizer"),
      list("split", NEMO_FIELD_FLOAT, "[0.9, 0.1]", split_doc).min(0),
  };
  for (Field& f : own) all.push_back(std::move(f));
  return all;
}

Range part_of(const Config& config, const std::string& split, int64_t things) {
  constexpr std::string_view kSplits[] = {"train", "validation", "test"};
  const std::vector<double> shares = config.numbers("split");
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (shares.empty() || shares.size() > std::size(kSplits) || !(sum > 0))
    config_fault("split", "split is one to three shares (train, validation, test) with a sum above 0, for example [0.9, 0.1]");
  double before = 0;
  for (size_t i = 0; i < shares.size(); before += shares[i++])
    if (kSplits[i] == split && shares[i] > 0)
      return {std::llround(static_cast<double>(things) * before / sum),
              std::llround(static_cast<double>(things) * (before + shares[i]) / sum), true};
  return {};
}

std::shared_ptr<const Corpus> open_corpus(const Config& config, const DataRequest& request, const Cut& cut) {
  const std::vector<std::string> files = config.strings("files"), paths = config.strings("paths");
  if (files.empty() == paths.empty())
    config_fault("files", std::string(files.empty() ? "neither" : "both of") + " files and paths are given; give one of them");
  if (!request.tokenizer) config_fault(files.empty() ? "paths" : "files", "this data needs a tokenizer, for its special tokens too");
  if (!paths.empty()) return std::make_shared<const Corpus>(Corpus::of_indexed(paths));
  return std::make_shared<const Corpus>(Corpus::of_text(find_files(files, "files"), request.tokenizer, cut));
}

void text_of(const Config& config, const nemo_sink& sink) {
  const std::vector<std::string> files = config.strings("files");
  if (files.empty()) config_fault("files", "a tokenizer that learns its vocabulary from the text needs text files");
  for_each_text(find_files(files, "files"), [&](std::string_view text) { check(sink.write(sink.ctx, text.data(), text.size())); });
}

}  // namespace nemo::denoising

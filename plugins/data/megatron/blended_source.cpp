#include "blended_source.hpp"

#include <charconv>
#include <cmath>
#include <numeric>

namespace nemo::megatron {
namespace {

std::optional<double> parse_weight(const std::string& word) {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string prefix_of(std::string path) {
  for (const std::string_view suffix : {".bin", ".idx"})
    if (path.size() > suffix.size() && std::string_view(path).substr(path.size() - suffix.size()) == suffix)
      path.resize(path.size() - suffix.size());
  return path;
}

std::unique_ptr<GptDataset> build(const BlendRequest& request, const std::shared_ptr<const IndexedDataset>& dataset, int64_t num_samples) {
  const DocumentRange documents = documents_of(request.share, dataset->num_sequences());
  const std::string name = dataset->prefix() + " (" + request.split_name + ")";
  if (documents.end <= documents.begin)
    sdk::config_fault("split", name + ": split \"" + request.split + "\" leaves it none of the " +
                                   std::to_string(dataset->num_sequences()) + " documents");
  GptIndexRequest index = request.index;
  index.first_document = documents.begin;
  index.end_document = documents.end;
  index.num_samples = num_samples;
  if (!request.cache) return std::make_unique<GptDataset>(dataset, index, name);
  const auto shares = parse_split(request.split);
  const IndexCacheKey key{dataset->prefix(), request.split_name, request.split, {shares.begin(), shares.end()}};
  const auto length = [&](int64_t d) { return dataset->length(d); };
  return std::make_unique<GptDataset>(dataset, request.cache->get(key, index, length, name), index.extra_token);
}

[[noreturn]] void not_found(const std::string& prefix, const std::string& message) {
  throw sdk::Error(NEMO_CODE_NOT_FOUND, message).with("path", "paths").with("file", prefix + ".idx");
}

// A dataset that is not there is a wrong setting; a damaged one is not.
std::shared_ptr<const IndexedDataset> open(const std::string& prefix) {
  try {
    return std::make_shared<IndexedDataset>(prefix);
  } catch (const sdk::Error& e) {
    if (e.code() != NEMO_CODE_NOT_FOUND) throw;
    not_found(prefix, e.what());
  }
}

std::vector<std::shared_ptr<const IndexedDataset>> open_all(const BlendRequest& request) {
  std::vector<std::shared_ptr<const IndexedDataset>> out;
  for (const std::string& prefix : request.paths.prefixes) {
    out.push_back(open(prefix));
    if (out.back()->num_sequences() == 0) not_found(prefix, prefix + ".idx: the dataset is empty");
  }
  return out;
}

}  // namespace

BlendPaths parse_paths(const std::vector<std::string>& words) {
  if (words.empty()) sdk::config_fault("paths", "paths is empty: name at least one dataset");
  BlendPaths out;
  const bool weighted = words.size() % 2 == 0 && parse_weight(words[0]).has_value();
  for (size_t i = 0; i < words.size(); i += weighted ? 2 : 1) {
    if (!weighted) {
      out.prefixes.push_back(prefix_of(words[i]));
      continue;
    }
    const std::optional<double> weight = parse_weight(words[i]);
    if (!weight || !(*weight > 0))
      sdk::config_fault("paths", "paths[" + std::to_string(i) + "] is '" + words[i] +
                                     "': with weights, paths alternates weight and prefix, and weights are above 0");
    out.weights.push_back(*weight);
    out.prefixes.push_back(prefix_of(words[i + 1]));
  }
  if (out.prefixes.size() > 32767) sdk::config_fault("paths", "a blend takes at most 32767 datasets");
  return out;
}

BlendedSource::BlendedSource(const BlendRequest& request)
    : seq_(request.index.seq_length), masks_(request.masks), text_(static_cast<size_t>(seq_ + request.index.extra_token)) {
  if (request.paths.weights.empty())
    build_whole(request);
  else
    build_weighted(request);
}

void BlendedSource::build_weighted(const BlendRequest& request) {
  const auto files = open_all(request);
  const std::vector<double> weights = normalise(request.paths.weights);
  int64_t size = request.num_samples;
  if (size == 0)
    for (const auto& file : files) size += build(request, file, 0)->size();
  int64_t used = 0;
  for (size_t d = 0; d < files.size(); ++d) {
    const BlendShare share = blend_share(size, weights[d], request.surplus);
    used += share.used;
    datasets_.push_back(build(request, files[d], share.requested));
  }
  blend_ = blend_by_weight(normalise(weights), used);
}

void BlendedSource::build_whole(const BlendRequest& request) {
  const auto files = open_all(request);
  const bool single = files.size() == 1;
  for (const auto& file : files) datasets_.push_back(build(request, file, single ? request.num_samples : 0));
  if (single) return;
  std::vector<int64_t> sizes;
  for (const auto& d : datasets_) sizes.push_back(d->size());
  const int64_t all = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  if (request.num_samples == 0)
    blend_ = blend_exhaustively(sizes);
  else
    blend_ = blend_by_weight(normalise(std::vector<double>(sizes.begin(), sizes.end())), std::min(request.num_samples, all));
}

void BlendedSource::read_text(int64_t index, std::span<int32_t> text) const {
  const int64_t i = index % num_samples();
  if (!blend_) {
    datasets_[0]->read(i, text);
    return;
  }
  const GptDataset& dataset = *datasets_[static_cast<size_t>(blend_->dataset[static_cast<size_t>(i)])];
  // Rounding can ask a dataset without margin for one sample more than it has.
  dataset.read(blend_->sample[static_cast<size_t>(i)] % dataset.size(), text);
}

void BlendedSource::read(int64_t index, const sdk::SampleRow& row) const {
  read_text(index, text_);
  write_row(text_, seq_, masks_, row);
}

}  // namespace nemo::megatron

#include "core/hub/golden.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/error.hpp"
#include "core/hub/element.hpp"

namespace nemo::hub {
namespace {

enum class Way {
  kAsIs,
  kNext,      // position t gets the value of t + 1, the last -100: labels of a decoder
  kLengths,   // the number of ones of each row: a right padding mask
  kPrevious,  // position t gets the value of t - 1, the first 0; -100 becomes 0: inputs of a decoder made of its labels
};

// Rows for one input are alternatives; the first whose tensor and condition hold is taken.
struct Feed {
  std::string_view input;   // of the graph
  std::string_view tensor;  // of the golden, behind the batch's prefix
  Way way;
  std::string_view beside;  // an input that the graph must have too; "": always
};
constexpr std::array kFeeds{
    Feed{"tokens", "labels", Way::kPrevious, "encoder_tokens"},  // encoder-decoder: the decoder's tokens
    Feed{"tokens", "input_ids", Way::kAsIs, ""},
    Feed{"labels", "labels", Way::kAsIs, "encoder_tokens"},
    Feed{"labels", "labels", Way::kAsIs, "token_types"},  // masked language model
    Feed{"labels", "labels", Way::kNext, ""},
    Feed{"encoder_tokens", "input_ids", Way::kAsIs, ""},
    Feed{"encoder_lengths", "attention_mask", Way::kLengths, ""},
    Feed{"lengths", "attention_mask", Way::kLengths, ""},
    Feed{"token_types", "token_type_ids", Way::kAsIs, ""},
    Feed{"next_sentence_labels", "next_sentence_label", Way::kAsIs, ""},
};
constexpr std::array kOwn{"positions", "rng", "loss_scale", "batch_counts"};  // fed by the runtime

bool contains(const auto& list, std::string_view name) { return std::find(list.begin(), list.end(), name) != list.end(); }

std::vector<int32_t> moved(std::vector<int32_t> values, Way way, int64_t row) {
  const auto n = static_cast<int64_t>(values.size());
  if (way == Way::kNext)
    for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i)] = (i + 1) % row == 0 ? -100 : values[static_cast<size_t>(i + 1)];
  if (way == Way::kPrevious)
    for (int64_t i = n - 1; i >= 0; --i)
      values[static_cast<size_t>(i)] = i % row == 0 ? 0 : std::max(values[static_cast<size_t>(i - 1)], 0);
  return values;
}

std::vector<int32_t> row_sums(const std::vector<int32_t>& values, int64_t row) {
  std::vector<int32_t> sums(values.size() / static_cast<size_t>(row), 0);
  for (size_t i = 0; i < values.size(); ++i) sums[i / static_cast<size_t>(row)] += values[i];
  return sums;
}

}  // namespace

Golden::Golden(const std::filesystem::path& file)
    : file_(file), facts_(read_json(std::filesystem::path(file).replace_extension(".json")).root) {}

const StoredTensor& Golden::at(const std::string& name) const {
  const auto it = file_.tensors().find(name);
  if (it == file_.tensors().end()) throw Error(Code::kNotFound, file_.path().string() + " has no tensor " + name);
  return it->second;
}

std::vector<float> Golden::floats(const std::string& name) const {
  const StoredTensor& t = at(name);
  const nemo_dtype dtype = parameter_dtype(t.dtype);
  if (dtype == 0) throw Error(Code::kDataLoss, file_.path().string() + ": tensor " + name + " is " + t.dtype + ", expected floats");
  std::vector<float> out(t.bytes / element_bytes(t.dtype));
  convert(file_.data(t), dtype, reinterpret_cast<std::byte*>(out.data()), NEMO_DTYPE_F32, out.size());
  return out;
}

std::vector<int32_t> Golden::ints(const std::string& name) const {
  const StoredTensor& t = at(name);
  if (t.dtype != "I64" && t.dtype != "I32")
    throw Error(Code::kDataLoss, file_.path().string() + ": tensor " + name + " is " + t.dtype + ", expected integers");
  const size_t element = element_bytes(t.dtype);
  std::vector<int32_t> out(t.bytes / element);
  for (size_t i = 0; i < out.size(); ++i) std::memcpy(&out[i], file_.data(t) + i * element, sizeof(int32_t));  // little-endian
  return out;
}

std::vector<std::string> Golden::names(const std::string& prefix) const {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : file_.tensors())
    if (name.starts_with(prefix)) out.push_back(name.substr(prefix.size()));
  return out;
}

std::optional<double> Golden::number(const std::string& name) const {
  const auto it = facts_.find(name);
  return it == facts_.end() || !it->is_number() ? std::nullopt : std::optional(it->get<double>());
}

std::vector<int64_t> token_shape(const Golden& golden) {
  // The labels of an encoder-decoder are the decoder's; for others both are alike.
  return golden.shape(golden.has("labels") ? "labels" : "input_ids");
}

runtime::Batch batch_of(const Golden& golden, const GoldenBatch& which, const graph::Graph& graph) {
  runtime::Batch batch;
  for (const graph::Value& value : graph.values) {
    if (value.kind != graph::ValueKind::kInput || contains(kOwn, value.name)) continue;
    const auto size = static_cast<size_t>(element_count(value.dims));
    const auto feed = std::find_if(kFeeds.begin(), kFeeds.end(), [&](const Feed& f) {
      return f.input == value.name && (f.beside.empty() || graph.find_input(f.beside) != 0) &&
             golden.has(which.prefix + std::string(f.tensor));
    });
    if (feed == kFeeds.end() && value.name.ends_with("lengths")) {  // nothing is masked
      const std::string tensor = value.name == "lengths" ? "tokens" : "encoder_tokens";
      batch.fields[value.name].assign(size, static_cast<int32_t>(graph.value(graph.find_input(tensor)).dims.back().size));
      continue;
    }
    if (feed == kFeeds.end()) throw Error(Code::kUnsupported, "parity: the golden has nothing for the model's input '" + value.name + "'");
    std::vector<int32_t> all = golden.ints(which.prefix + std::string(feed->tensor));
    if (feed->way == Way::kLengths) all = row_sums(all, golden.shape(which.prefix + std::string(feed->tensor)).back());
    if (which.step >= 0)
      all = {all.begin() + which.step * static_cast<int64_t>(size), all.begin() + (which.step + 1) * static_cast<int64_t>(size)};
    if (all.size() != size)
      throw Error(Code::kUnsupported, "parity: input '" + value.name + "' has " + std::to_string(size) + " elements, the golden's " +
                                          std::string(feed->tensor) + " " + std::to_string(all.size()));
    batch.fields[value.name] = moved(std::move(all), feed->way, value.dims.empty() ? 1 : value.dims.back().size);
  }
  if (const auto labels = batch.fields.find("labels"); labels != batch.fields.end())
    batch.unmasked_tokens = std::count_if(labels->second.begin(), labels->second.end(), [](int32_t l) { return l != -100; });
  return batch;
}

}  // namespace nemo::hub

#include "gpt_index.hpp"

#include <algorithm>
#include <numeric>

#include "nemo/cpp/config.hpp"
#include "numpy_random.hpp"

namespace nemo::megatron {
namespace {

using sdk::Error;

constexpr int64_t kMostEntries = 0xfffffffe;

int64_t count_samples(const GptIndexRequest& r, int64_t tokens, LastSample last) {
  const int64_t usable = std::max<int64_t>(tokens - r.extra_token, 0);
  return last == LastSample::kDrop ? usable / r.seq_length : (usable + r.seq_length - 1) / r.seq_length;
}

void choose_epochs(const GptIndexRequest& r, GptIndex& index) {
  const int64_t requested = r.num_samples * r.seq_length + r.extra_token;
  if (r.num_samples == 0 || requested <= index.tokens_per_epoch) return;
  index.epochs = (requested + index.tokens_per_epoch - 1) / index.tokens_per_epoch;
  const int64_t before_final = count_samples(r, (index.epochs - 1) * index.tokens_per_epoch, LastSample::kDrop);
  const int64_t per_epoch = count_samples(r, index.tokens_per_epoch, LastSample::kDrop);
  index.separate_final_epoch = r.num_samples - before_final < static_cast<int64_t>(0.80 * static_cast<double>(per_epoch));
}

void check(const GptIndexRequest& r, const GptIndex& index, const std::string& name) {
  const int64_t documents = r.end_document - r.first_document, needed = r.seq_length + r.extra_token;
  const int64_t least = r.last_sample == LastSample::kKeep ? r.extra_token + 1 : needed;
  if (index.tokens_per_epoch * index.epochs < least || index.tokens_per_epoch == 0)
    sdk::config_fault("paths", name + " has " + std::to_string(index.tokens_per_epoch) + " tokens in " + std::to_string(documents) +
                                   " documents, but one sample needs " + std::to_string(needed) +
                                   "; give more data, another split, or a smaller seq_length");
  if (documents * index.epochs > kMostEntries || count_samples(r, index.tokens_per_epoch * index.epochs, r.last_sample) > kMostEntries)
    throw Error(NEMO_CODE_UNSUPPORTED, name + ": " + std::to_string(index.epochs) + " epochs of " + std::to_string(documents) +
                                           " documents make more than 2^32 index entries; ask for fewer samples");
}

}  // namespace

int64_t count_samples(const GptIndexRequest& request, const GptIndex& planned) {
  return count_samples(request, planned.epochs * planned.tokens_per_epoch, request.last_sample);
}

namespace {

std::vector<int32_t> shuffle_documents(const GptIndexRequest& r, const GptIndex& index, NumpyRandom& random) {
  const auto per_epoch = static_cast<size_t>(r.end_document - r.first_document);
  std::vector<int32_t> documents(per_epoch * static_cast<size_t>(index.epochs));
  for (size_t i = 0; i < documents.size(); ++i) documents[i] = static_cast<int32_t>(r.first_document + static_cast<int64_t>(i % per_epoch));
  const std::span<int32_t> all(documents);
  const size_t apart = index.separate_final_epoch ? documents.size() - per_epoch : documents.size();
  random.shuffle(all.first(apart));
  if (index.separate_final_epoch) random.shuffle(all.subspan(apart));
  return documents;
}

std::vector<SamplePosition> cut_samples(const GptIndexRequest& r, const GptIndex& index, const std::function<int32_t(int64_t)>& length) {
  const int64_t count = count_samples(r, index);
  std::vector<SamplePosition> samples;
  samples.reserve(static_cast<size_t>(count) + 1);
  samples.push_back({0, 0});
  size_t document = 0;
  int64_t offset = 0;
  for (int64_t s = 0; s < count; ++s) {
    int64_t remaining = r.seq_length + r.extra_token;
    while (true) {
      const int64_t rest = length(index.documents[document]) - offset;
      if (rest >= remaining) {
        offset += remaining - r.extra_token;
        break;
      }
      if (document + 1 == index.documents.size()) {  // the last sample is shorter
        offset = length(index.documents[document]) - r.extra_token;
        break;
      }
      remaining -= rest;
      ++document;
      offset = 0;
    }
    samples.push_back({static_cast<uint32_t>(document), static_cast<int32_t>(offset)});
  }
  return samples;
}

std::vector<uint32_t> shuffle_samples(const GptIndexRequest& r, const GptIndex& index, NumpyRandom& random) {
  std::vector<uint32_t> order(index.samples.size() - 1);
  std::iota(order.begin(), order.end(), 0u);
  const std::span<uint32_t> all(order);
  size_t apart = order.size();
  if (index.separate_final_epoch)
    apart = static_cast<size_t>(count_samples(r, (index.epochs - 1) * index.tokens_per_epoch, LastSample::kDrop));
  random.shuffle(all.first(apart));
  if (apart < order.size()) random.shuffle(all.subspan(apart));
  return order;
}

}  // namespace

GptIndex plan_gpt_index(const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length, const std::string& name) {
  GptIndex index;
  for (int64_t d = request.first_document; d < request.end_document; ++d) index.tokens_per_epoch += length(d);
  if (index.tokens_per_epoch > 0) choose_epochs(request, index);
  check(request, index, name);
  return index;
}

void fill_gpt_index(const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length, GptIndex& index) {
  NumpyRandom random(request.seed);
  index.documents = shuffle_documents(request, index, random);
  index.samples = cut_samples(request, index, length);
  index.shuffle = shuffle_samples(request, index, random);
}

GptIndex build_gpt_index(const GptIndexRequest& request, const std::function<int32_t(int64_t)>& length, const std::string& name) {
  GptIndex index = plan_gpt_index(request, length, name);
  fill_gpt_index(request, length, index);
  return index;
}

}  // namespace nemo::megatron

#include "core/runtime/data_source.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace nemo::runtime {
namespace {

constexpr int32_t kIgnored = -100;  // label of a token that takes no part in the loss

nemo_str to_str(std::string_view s) { return {s.data(), s.size()}; }

text::Corpus corpus_of(const Setup& setup) {
  return [&setup](const std::function<void(std::string_view)>& take) {
    const auto& api = setup.data->api<nemo_data_api>();
    if (api.corpus == nullptr)
      throw config::fault_at(setup.section("tokenizer"), "type",
                             "learns its vocabulary from text, which data plugin '" + setup.data->id + "' does not give");
    const nemo_sink sink{const_cast<void*>(static_cast<const void*>(&take)), [](void* ctx, const void* bytes, uint64_t n) {
                           return plugin::guard([&] {
                             (*static_cast<const std::function<void(std::string_view)>*>(ctx))({static_cast<const char*>(bytes), n});
                           });
                         }};
    placed(setup.section("data"), [&] { plugin::check(api.corpus(setup.data->host, &setup.section("data"), sink)); });
  };
}

}  // namespace

std::unique_ptr<text::Tokenizer> make_tokenizer(const Setup& setup) {
  const config::Section& section = setup.section("tokenizer");
  if (section.get_string("type") == "none") return nullptr;
  text::TokenizerOptions options;
  if (section.has("vocab_file")) options.vocab_file = section.get_string("vocab_file");
  if (section.has("merges_file")) options.merges_file = section.get_string("merges_file");
  if (section.has("path")) options.path = section.get_string("path");
  return text::make_tokenizer(section.get_string("type"), options, corpus_of(setup));
}

std::set<std::string> batch_fields(const Setup& setup) {
  std::set<std::string> fields;
  const auto& api = setup.data->api<nemo_data_api>();
  for (const std::string_view name :
       {"positions", "segments", "token_types", "lengths", "encoder_tokens", "encoder_lengths", "next_sentence_labels"})
    if (api.has_field != nullptr && api.has_field(setup.data->host, &setup.section("data"), to_str(name))) fields.emplace(name);
  return fields;
}

int64_t added_tokens(const Setup& setup) {
  const auto& api = setup.data->api<nemo_data_api>();
  return api.added_tokens == nullptr ? 0 : api.added_tokens(setup.data->host, &setup.section("data"));
}

int64_t encoder_seq_length(const Setup& setup) {
  const config::Section& data = setup.section("data");
  return data.knows("encoder_seq_length") ? data.get_int("encoder_seq_length") : 0;
}

std::unique_ptr<DataSource> DataSource::open(const Setup& setup, const nemo_host_api& host, const text::Tokenizer* tokenizer,
                                             const SourceOptions& options) {
  std::unique_ptr<text::TokenizerHandle> handle;
  if (tokenizer != nullptr) handle = std::make_unique<text::TokenizerHandle>(*tokenizer, host, setup.data->host);
  std::unique_ptr<DataSource> source(new DataSource(setup.data->api<nemo_data_api>(), std::move(handle)));
  nemo_data_open open{};
  open.struct_size = sizeof open;
  open.split = to_str(options.split);
  open.seq_length = options.facts.seq_length;
  open.seed = options.seed;
  open.shard = options.shard;
  open.n_shards = options.shards;
  open.micro_batch_size = options.facts.micro_batch_size;
  open.global_batch_size = options.global_batch_size;
  open.max_samples = options.max_samples;
  open.tokenizer_api = &text::tokenizer_api();
  open.tokenizer = source->handle_ ? source->handle_->get() : nullptr;
  placed(setup.section("data"), [&] { plugin::check(source->api_.open(setup.data->host, &setup.section("data"), &open, &source->data_)); });
  if (source->data_ == nullptr) return nullptr;
  source->make_fields(setup, options.facts);
  return source;
}

// Memory of each field, and its place for the plugin. Shapes are those of nemo/data.h.
void DataSource::make_fields(const Setup& setup, const graph::BuildFacts& facts) {
  const int64_t rows = facts.micro_batch_size, encoder = facts.encoder_seq_length == 0 ? facts.seq_length : facts.encoder_seq_length;
  for (const auto& [place, columns] : {std::pair{&tokens_, facts.seq_length}, {&encoder_tokens_, encoder}, {&numbers_, int64_t{1}}})
    *place = {{rows, columns}, {columns, 1}};
  std::set<std::string> names = batch_fields(setup);
  names.insert({"tokens", "labels"});
  for (const std::string& name : names) {
    const bool number = name == "lengths" || name == "encoder_lengths" || name == "next_sentence_labels";
    Layout& layout = number ? numbers_ : name == "encoder_tokens" ? encoder_tokens_ : tokens_;
    auto& [key, values] = *batch_.fields.emplace(name, std::vector<int32_t>(static_cast<size_t>(rows * layout.shape[1]))).first;
    nemo_batch_field field{};
    field.name = to_str(key);
    field.tensor.struct_size = sizeof(nemo_tensor);
    field.tensor.dtype = NEMO_DTYPE_I32;
    field.tensor.t = {values.data(), {1, 0}, number ? 1 : 2, {0, 32, 1}, layout.shape.data(), layout.strides.data(), 0};
    fields_.push_back(field);
  }
}

DataSource::~DataSource() { api_.close(data_); }

void DataSource::seek(int64_t consumed_samples) { plugin::check(api_.seek(data_, consumed_samples)); }

int64_t DataSource::num_samples() const {
  int64_t n = 0;
  plugin::check(api_.num_samples(data_, &n));
  return n;
}

const Batch& DataSource::next() {
  plugin::check(api_.next(data_, fields_.data(), fields_.size(), sizeof(nemo_batch_field)));
  const std::vector<int32_t>& labels = batch_.fields.at("labels");
  batch_.unmasked_tokens = static_cast<int64_t>(labels.size()) - std::count(labels.begin(), labels.end(), kIgnored);
  return batch_;
}

namespace {

// Kernels treat an id outside the table as absent, so a vocabulary that is too small would train on nothing, silently.
void check_tokens(const Batch& batch, int64_t vocabulary) {
  for (const char* field : {"tokens", "encoder_tokens"}) {
    const auto found = batch.fields.find(field);
    if (found == batch.fields.end()) continue;
    const std::vector<int32_t>& tokens = found->second;
    const auto wrong = std::find_if(tokens.begin(), tokens.end(), [&](int32_t t) { return t < 0 || t >= vocabulary; });
    if (wrong != tokens.end())
      throw Error(Code::kConfig, "the data has token id " + std::to_string(*wrong) + ", but the model's vocabulary has " +
                                     std::to_string(vocabulary) +
                                     " entries; set model.vocab_size, or use the tokenizer that the data was made with");
  }
}

// Of [rows, whole sequence] the chunks that this rank has, where ranks share sequences out.
std::vector<int32_t> part_of(std::vector<int32_t> values, int64_t rows, int64_t mine, const passes::SequencePart& part) {
  if (part.ranks == 1) return values;
  const int64_t chunk = part.balanced ? mine / 2 : mine, seq = mine * part.ranks;
  const std::vector<int64_t> chunks =
      part.balanced ? std::vector<int64_t>{part.rank, 2 * part.ranks - 1 - part.rank} : std::vector<int64_t>{part.rank};
  std::vector<int32_t> out;
  for (int64_t row = 0; row < rows; ++row)
    for (const int64_t c : chunks) {
      const auto from = values.begin() + row * seq + c * chunk;
      out.insert(out.end(), from, from + chunk);
    }
  return out;
}

}  // namespace

void feed_fields(Device& device, const FeedTarget& target, const Batch& batch, int64_t seed, int64_t first_sample, double loss_scale) {
  check_tokens(batch, target.vocabulary);
  const graph::Graph& g = target.program.graph;
  const auto put = [&](graph::ValueId v, std::vector<int32_t> values) {
    const graph::Dims& dims = g.value(v).dims;
    if (dims.size() > 1) values = part_of(std::move(values), dims[0].size, dims[1].size, target.program.sequence);
    device.send(target.address(v), values.data(), static_cast<int64_t>(values.size() * sizeof(int32_t)));
  };
  for (const auto& [name, values] : batch.fields)
    if (const graph::ValueId v = target.input(name)) put(v, values);
  if (const graph::ValueId v = target.input("positions"); v != 0 && !batch.fields.contains("positions")) {
    const size_t rows = static_cast<size_t>(g.value(v).dims[0].size), seq = batch.fields.at("tokens").size() / rows;
    std::vector<int32_t> positions(rows * seq);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i % seq);
    put(v, std::move(positions));
  }
  if (const graph::ValueId v = target.input("batch_counts"); v != 0 && !batch.fields.contains("batch_counts"))
    put(v, {static_cast<int32_t>(batch.unmasked_tokens), static_cast<int32_t>(g.value(target.input("labels")).dims[0].size)});
  if (const graph::ValueId v = target.input("loss_scale")) {
    const auto f32 = static_cast<float>(loss_scale);
    const double f64 = loss_scale;
    if (g.value(v).dtype == graph::DType::kF64)
      device.send(target.address(v), &f64, sizeof f64);
    else
      device.send(target.address(v), &f32, sizeof f32);
  }
  if (const graph::ValueId v = target.input("rng")) {
    const std::array<int64_t, 2> rng{seed, first_sample};
    device.send(target.address(v), rng.data(), sizeof rng);
  }
}

void feed(Device& device, Program& program, const Batch& batch, int64_t seed, int64_t first_sample, double loss_scale) {
  const passes::Compiled& compiled = program.compiled();
  feed_fields(device,
              {compiled, [&](std::string_view name) { return compiled.graph.find_input(name); },
               [&](graph::ValueId v) { return program.address(v); }, program.vocabulary()},
              batch, seed, first_sample, loss_scale);
}

}  // namespace nemo::runtime

#include "core/hub/export.hpp"

#include <fcntl.h>

#include <algorithm>

#include "core/base/error.hpp"
#include "core/checkpoint/durable.hpp"
#include "core/checkpoint/store.hpp"
#include "core/hub/element.hpp"
#include "core/hub/import.hpp"
#include "core/hub/safetensors_writer.hpp"
#include "core/passes/build.hpp"
#include "core/plugin/error.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::hub {
namespace fs = std::filesystem;
namespace {

std::vector<int64_t> shape_of(const graph::Parameter& p) {
  std::vector<int64_t> shape;
  for (const graph::Dim& d : p.dims) shape.push_back(d.size);
  return shape;
}

bool is_float(nemo_dtype d) { return d == NEMO_DTYPE_F32 || d == NEMO_DTYPE_F64 || d == NEMO_DTYPE_BF16 || d == NEMO_DTYPE_F16; }

// A checkpoint, its plugin and the map, ready to give tensors.
class Export {
 public:
  Export(const ExportOptions& options, plugin::Registry& registry, const Say& warn)
      : options_(options), reader_(locate(options.from), checkpoint::Verify::kSizes) {
    const config::Document document = config::Document::parse(reader_.recipe(), (reader_.directory() / checkpoint::kRecipeFile).string());
    setup_ = runtime::make_setup(document, registry, warn, runtime::Needs::kNothing);
    const int64_t vocab = tokenizer_vocabulary();
    config::Section& model = setup_.configuration.section("model");
    if (model.knows("vocab_size") && model.get_int("vocab_size") == 0 && vocab > 0) model.set("vocab_size", {vocab});
    graph_ = runtime::placed(model, [&] { return passes::build(*setup_.model, &model, {1, 1, vocab, {}}); });
    map_ = std::make_unique<TensorMap>(*setup_.model, model, graph_.parameters);
    for (const graph::Parameter& p : graph_.parameters) dtypes_.push_back(reader_.info(checkpoint::kParameters, p.name).dtype);
    layout_ = has(kKeptLayout) ? parse_json(reader_.text_file(kKeptLayout), kKeptLayout).root : Json::object();
  }

  ExportResult write(const Say& warn) {
    fs::create_directories(options_.to);
    const std::vector<TensorPlan> plan = planned();
    const std::string architecture = write_config(plan);
    copy_files(warn);
    SafetensorsWriter writer(options_.to, plan, options_.max_shard_bytes);
    Assembler assembler(*map_, sizes(), [this](size_t p, nemo_dtype dtype, std::byte* out) { read(p, dtype, out); });
    uint64_t bytes = 0;
    for (const TensorPlan& t : plan) {
      const std::string theirs = origin_.at(t.name);
      if (const auto constant = map_->constants().find(theirs); constant != map_->constants().end())
        write_constant(writer, t, constant->second.value);
      else if (t.name != spelled(theirs))
        write_alias(writer, theirs, t);
      else
        write_tensor(writer, assembler, theirs, t);
      bytes += t.bytes();
    }
    writer.finish();
    return {setup_.model->id, architecture, plan.size(), bytes};
  }

 private:
  static fs::path locate(const fs::path& given) {
    if (fs::exists(given / checkpoint::kManifestFile)) return given;
    for (const fs::path& folder : {given / "checkpoints", given})
      if (const auto entry = checkpoint::Store(folder).latest_good(checkpoint::Verify::kSizes)) return entry->path;
    throw Error(Code::kNotFound, "no checkpoint in '" + given.string() + "'");
  }

  [[nodiscard]] bool has(const std::string& file) const { return fs::exists(reader_.directory() / file); }

  // 0: no tokenizer, or none that this program must read to export (model.vocab_size then says it).
  [[nodiscard]] int64_t tokenizer_vocabulary() const {
    const config::Section& model = setup_.section("model");
    if (!has("tokenizer") || (model.knows("vocab_size") && model.get_int("vocab_size") != 0)) return 0;
    return text::load_tokenizer(reader_.directory() / "tokenizer")->vocab_size();
  }

  [[nodiscard]] std::vector<uint64_t> sizes() const {
    std::vector<uint64_t> n;
    for (const graph::Parameter& p : graph_.parameters) n.push_back(checkpoint::element_count(shape_of(p)));
    return n;
  }

  void read(size_t p, nemo_dtype dtype, std::byte* out) {
    const graph::Parameter& parameter = graph_.parameters[p];
    if (dtype == dtypes_[p]) return reader_.read(checkpoint::kParameters, {parameter.name, dtype, shape_of(parameter), out});
    const uint64_t count = checkpoint::element_count(shape_of(parameter));
    stored_.resize(count * checkpoint::element_bytes(dtypes_[p]));
    reader_.read(checkpoint::kParameters, {parameter.name, dtypes_[p], shape_of(parameter), stored_.data()});
    convert(stored_.data(), dtypes_[p], out, dtype, count);
  }

  // The name in the file.
  [[nodiscard]] std::string spelled(const std::string& theirs) const {
    if (!layout_.value("spelled", false)) return theirs;
    for (const auto& [prefix, other] : map_->spellings())
      if (theirs.starts_with(prefix)) return other + theirs.substr(prefix.size());
    return theirs;
  }

  [[nodiscard]] nemo_dtype dtype_of(const std::string& theirs) const {
    if (options_.dtype) return *options_.dtype;
    nemo_dtype dtype = 0;
    for (const size_t i : map_->tensors().at(theirs).pieces) {
      const nemo_dtype d = dtypes_[map_->pieces()[i].parameter];
      if (!is_float(d))
        throw Error(Code::kUnsupported,
                    "parameter " + graph_.parameters[map_->pieces()[i].parameter].name + " has no floating point dtype");
      dtype = dtype == 0 || dtype == d ? d : NEMO_DTYPE_F32;
    }
    return dtype;
  }

  std::vector<TensorPlan> planned() {
    std::vector<TensorPlan> plan;
    const auto add = [&](const std::string& name, const std::string& theirs, nemo_dtype dtype, const std::vector<int64_t>& shape) {
      origin_[name] = theirs;
      plan.push_back({name, std::string(word_of(dtype)), shape});
    };
    const Assembler order(*map_, sizes(), nullptr);
    for (const std::string& theirs : order.order()) add(spelled(theirs), theirs, dtype_of(theirs), map_->tensors().at(theirs).shape);
    const nemo_dtype common = parameter_dtype(plan.at(0).dtype);
    for (const auto& [name, constant] : map_->constants()) add(spelled(name), name, common, constant.shape);
    for (const Json& alias : layout_.value("aliases", Json::array())) {
      const std::string theirs = map_->original_of(alias.get<std::string>());
      if (map_->tensors().contains(theirs)) add(alias, theirs, dtype_of(theirs), map_->tensors().at(theirs).shape);
    }
    return plan;
  }

  void write_tensor(SafetensorsWriter& writer, Assembler& assembler, const std::string& theirs, const TensorPlan& t) {
    const nemo_dtype dtype = parameter_dtype(t.dtype);
    const size_t p = map_->pieces()[map_->tensors().at(theirs).pieces[0]].parameter;
    const auto place = reader_.place(checkpoint::kParameters, graph_.parameters[p].name);
    if (!place || !assembler.take_whole(theirs)) return writer.write(assembler.tensor(theirs, dtype).data(), t.bytes());
    stored_ = {};
    const checkpoint::Descriptor file(place->file, O_RDONLY);
    const uint64_t from = checkpoint::element_bytes(dtypes_[p]), to = checkpoint::element_bytes(dtype);
    writer.write(t.bytes(), [&](uint64_t at, std::span<std::byte> out) {
      if (dtypes_[p] == dtype) return checkpoint::read_at(file, place->begin + at, out, place->file);
      block_.resize(out.size() / to * from);
      checkpoint::read_at(file, place->begin + at / to * from, block_, place->file);
      convert(block_.data(), dtypes_[p], out.data(), dtype, out.size() / to);
    });
  }

  static void write_constant(SafetensorsWriter& writer, const TensorPlan& t, double value) {
    std::vector<std::byte> out(t.bytes());
    const size_t element = element_bytes(t.dtype);
    for (size_t i = 0; i < out.size() / element; ++i)
      convert(reinterpret_cast<const std::byte*>(&value), NEMO_DTYPE_F64, &out[i * element], parameter_dtype(t.dtype), 1);
    writer.write(out.data(), out.size());
  }

  // A tensor once more; it has been written already.
  void write_alias(SafetensorsWriter& writer, const std::string& theirs, const TensorPlan& t) {
    Assembler again(*map_, sizes(), [this](size_t p, nemo_dtype dtype, std::byte* out) { read(p, dtype, out); });
    writer.write(again.tensor(theirs, parameter_dtype(t.dtype)).data(), t.bytes());
  }

  // Returns the architecture.
  std::string write_config(const std::vector<TensorPlan>& plan) {
    JsonText base;
    base.root = Json::object();
    if (options_.like) base = read_json(*options_.like / "config.json");
    if (!options_.like && has(kKeptConfig)) base = parse_json(reader_.text_file(kKeptConfig), kKeptConfig);
    base.root.erase("quantization_config");  // what is exported is not quantised
    JsonDocument config(base.root, "config.json");
    const auto& api = setup_.model->api<nemo_model_api>();
    if (api.hf_export == nullptr) throw Error(Code::kUnsupported, "model plugin '" + setup_.model->id + "' cannot write a config.json");
    plugin::check(api.hf_export(setup_.model->host, &setup_.section("model"), &json_api(), config.handle()));
    const TensorPlan* largest = &plan.at(0);
    for (const TensorPlan& t : plan)
      if (t.bytes() > largest->bytes()) largest = &t;
    const bool old = !config.root().contains("dtype");
    config.set(old ? "torch_dtype" : "dtype", std::string(torch_name(parameter_dtype(largest->dtype))));
    checkpoint::write_file(options_.to / "config.json", dump_json(config.root(), base.bare_floats));
    const Json* architecture = config.find("architectures.0");
    return architecture != nullptr && architecture->is_string() ? architecture->get<std::string>() : "";
  }

  void copy_files(const Say& warn) const {
    const fs::path from = options_.like ? *options_.like : reader_.directory() / "tokenizer";
    size_t copied = 0;
    if (fs::is_directory(from))
      for (const std::string& name : tokenizer_files(from)) copied += fs::copy_file(from / name, options_.to / name) ? 1 : 0;
    if (copied == 0 && has("tokenizer"))
      warn("the checkpoint's tokenizer has no Hugging Face files; export with --like FOLDER to take them from the model's folder");
    if (options_.like && fs::exists(*options_.like / "generation_config.json"))
      fs::copy_file(*options_.like / "generation_config.json", options_.to / "generation_config.json");
    else if (has(kKeptGeneration))
      checkpoint::write_file(options_.to / "generation_config.json", reader_.text_file(kKeptGeneration));
  }

  const ExportOptions& options_;
  checkpoint::Reader reader_;
  runtime::Setup setup_;
  graph::Graph graph_;
  std::unique_ptr<TensorMap> map_;
  std::vector<nemo_dtype> dtypes_;  // by parameter, as stored
  Json layout_;
  std::map<std::string, std::string> origin_;  // name in the file -> the map's name
  std::vector<std::byte> stored_, block_;
};

}  // namespace

ExportResult export_model(const ExportOptions& options, plugin::Registry& registry, const Say& warn) {
  if (fs::exists(options.to) && !fs::is_empty(options.to))
    throw Error(Code::kConfig, "'" + options.to.string() + "' is not empty; name a new folder");
  return Export(options, registry, warn).write(warn);
}

}  // namespace nemo::hub

#include "core/hub/import.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"
#include "core/checkpoint/writer.hpp"
#include "core/config/render.hpp"
#include "core/hub/element.hpp"
#include "core/hub/mxfp4.hpp"
#include "core/hub/safetensors.hpp"
#include "core/hub/tensor_map.hpp"
#include "core/passes/build.hpp"
#include "core/plugin/kind.hpp"

namespace nemo::hub {
namespace fs = std::filesystem;
namespace {

constexpr size_t kNamesShown = 8;

std::string first_names(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < kNamesShown; ++i) out += (i == 0 ? "" : ", ") + names[i];
  return names.size() > kNamesShown ? out + ", ..." : out;
}

// The map's names found in the files.
class Source {
 public:
  Source(const TensorMap& map, const ModelFiles& files, const fs::path& folder, const Say& warn)
      : map_(map), files_(files), folder_(folder) {
    find_all();
    check_rest(warn);
    check_constants();
    for (const auto& [name, tensor] : map.tensors())
      if (const ModelFiles::Entry* entry = find(name)) check(name, tensor, *entry);
  }
  // nullptr: an optional tensor that is not there.
  [[nodiscard]] const ModelFiles::Entry* find(const std::string& theirs) const {
    const auto it = found_.find(theirs);
    return it == found_.end() ? nullptr : &files_.tensors().at(it->second);
  }
  [[nodiscard]] Json layout() const { return {{"spelled", spelled_}, {"aliases", aliases_}}; }

 private:
  // The name in the files; "" where there is none. `spelled` is set where it is not the map's own.
  [[nodiscard]] std::string locate(const std::string& theirs, bool& spelled) const {
    if (files_.tensors().contains(theirs)) return theirs;
    for (const auto& [prefix, other] : map_.spellings()) {
      if (!theirs.starts_with(prefix)) continue;
      std::string name = other + theirs.substr(prefix.size());
      spelled = true;
      if (files_.tensors().contains(name)) return name;
    }
    return "";
  }

  void find_all() {
    std::vector<std::string> missing;
    for (const auto& [theirs, tensor] : map_.tensors()) {
      bool spelled = false;
      const std::string name = locate(theirs, spelled);
      if (!name.empty()) {
        found_[theirs] = name;
        spelled_ = spelled_ || spelled;
      } else if (!std::all_of(tensor.pieces.begin(), tensor.pieces.end(), [&](size_t i) { return map_.pieces()[i].optional; })) {
        missing.push_back(theirs);
      }
    }
    if (missing.empty()) return;
    std::vector<std::string> names;
    for (const auto& [name, entry] : files_.tensors()) names.push_back(name);
    const std::string near = nearest_name(missing[0], names);
    throw Error(Code::kDataLoss, folder_.string() + ": " + std::to_string(missing.size()) + " tensors are missing: " +
                                     first_names(missing) + (near.empty() ? "" : " (the nearest name to the first is " + near + ")"));
  }

  // What the map knows of a name in the files, under any spelling.
  template <class Known>
  [[nodiscard]] bool known(const std::string& name, Known&& test) const {
    if (test(name)) return true;
    return std::any_of(map_.spellings().begin(), map_.spellings().end(),
                       [&](const auto& s) { return name.starts_with(s.second) && test(s.first + name.substr(s.second.size())); });
  }

  void check_rest(const Say& warn) {
    std::set<std::string> used;
    for (const auto& [theirs, name] : found_) used.insert(name);
    std::vector<std::string> unexpected;
    for (const auto& [name, entry] : files_.tensors()) {
      if (used.contains(name) || known(name, [&](const std::string& n) { return map_.ignores(n) || map_.constants().contains(n); }))
        continue;
      if (known(name, [&, &entry = entry](const std::string& n) { return is_alias(n, entry, warn); }))
        aliases_.push_back(name);
      else
        unexpected.push_back(name);
    }
    if (!unexpected.empty())
      throw Error(Code::kDataLoss, folder_.string() + ": " + std::to_string(unexpected.size()) +
                                       " tensors have no place in the model that config.json describes: " + first_names(unexpected));
  }

  bool is_alias(const std::string& name, const ModelFiles::Entry& entry, const Say& warn) const {
    const ModelFiles::Entry* of = find(map_.original_of(name));
    if (of == nullptr || of->packed != nullptr || entry.packed != nullptr) return false;
    if (of->tensor->bytes != entry.tensor->bytes || std::memcmp(of->data(), entry.data(), entry.tensor->bytes) != 0)
      warn(folder_.string() + ": " + name + " differs from " + map_.original_of(name) + ", which config.json ties it to; it is not used");
    entry.release(), of->release();
    return true;
  }

  void check_constants() const {
    for (const auto& [name, constant] : map_.constants()) {
      bool spelled = false;
      const std::string found = locate(name, spelled);
      if (found.empty()) continue;
      const ModelFiles::Entry& entry = files_.tensors().at(found);
      const nemo_dtype dtype = entry.packed != nullptr ? 0 : parameter_dtype(entry.tensor->dtype);
      std::vector<double> values(dtype == 0 ? 0 : entry.tensor->bytes / element_bytes(entry.tensor->dtype));
      if (dtype != 0) convert(entry.data(), dtype, reinterpret_cast<std::byte*>(values.data()), NEMO_DTYPE_F64, values.size());
      if (entry.tensor->shape != constant.shape || dtype == 0 ||
          std::any_of(values.begin(), values.end(), [value = constant.value](double v) { return v != value; }))
        throw Error(Code::kUnsupported, entry.file->path().string() + ": tensor " + found + " must be " + describe("", constant.shape) +
                                            " with the value " + std::to_string(constant.value) + " everywhere");
    }
  }

  static void check(const std::string& name, const TheirTensor& wanted, const ModelFiles::Entry& entry) {
    const std::string where =
        entry.file->path().string() + ": tensor " + name + " is " + describe(entry.tensor->dtype, entry.tensor->shape);
    if (entry.tensor->shape != wanted.shape)
      throw Error(Code::kDataLoss, where + ", but config.json makes it " + describe("", wanted.shape));
    if (parameter_dtype(entry.tensor->dtype) == 0)
      throw Error(Code::kUnsupported, where + "; weights of F32, BF16, F16 and F64 are read (save the model in one of them first)");
  }

  const TensorMap& map_;
  const ModelFiles& files_;
  const fs::path& folder_;
  std::map<std::string, std::string> found_;  // theirs -> name in the files
  std::vector<std::string> aliases_;
  bool spelled_ = false;
};

// One parameter at a time, out of its tensors.
class Filler {
 public:
  Filler(const TensorMap& map, const Source& source, const std::vector<graph::Parameter>& parameters)
      : map_(map), source_(source), parameters_(parameters) {}

  [[nodiscard]] nemo_dtype dtype(size_t p) const {
    std::string word;
    for (const size_t i : map_.pieces_of(p)) {
      const ModelFiles::Entry* entry = source_.find(map_.pieces()[i].theirs);
      if (entry == nullptr) continue;
      if (!word.empty() && word != entry->tensor->dtype)
        throw Error(Code::kUnsupported, entry->file->path().string() + ": tensor " + map_.pieces()[i].theirs + " is " +
                                            entry->tensor->dtype + ", others of parameter " + parameters_[p].name + " are " + word);
      word = entry->tensor->dtype;
    }
    return word.empty() ? NEMO_DTYPE_F32 : parameter_dtype(word);
  }

  void write(checkpoint::Writer& writer, size_t p) {
    const graph::Parameter& parameter = parameters_[p];
    const nemo_dtype type = dtype(p);
    std::vector<int64_t> shape;
    for (const graph::Dim& d : parameter.dims) shape.push_back(d.size);
    if (const auto direct = this->direct(p, checkpoint::element_count(shape))) {
      buffer_ = {}, dense_ = {};  // memory holds one parameter
      const auto [file, begin] = *direct;
      writer.write(checkpoint::kParameters, {parameter.name, type, shape, nullptr},
                   [file = file, begin = begin](uint64_t at, std::span<std::byte> out) { file->read(begin + at, out); });
    } else {
      writer.write(checkpoint::kParameters, {parameter.name, type, shape, assembled(p, checkpoint::element_count(shape), type)});
    }
    for (const size_t i : map_.pieces_of(p))
      if (const ModelFiles::Entry* entry = source_.find(map_.pieces()[i].theirs)) entry->release();
  }

  // Where the parameter begins in the files: in this order reading is sequential.
  [[nodiscard]] std::pair<std::string, uint64_t> place(size_t p) const {
    const ModelFiles::Entry* entry = source_.find(map_.pieces()[map_.pieces_of(p)[0]].theirs);
    return entry == nullptr ? std::pair<std::string, uint64_t>() : std::pair(entry->file->path().string(), entry->tensor->begin);
  }

 private:
  // Where a file has the parameter as it is.
  [[nodiscard]] std::optional<std::pair<const SafetensorsFile*, uint64_t>> direct(size_t p, uint64_t count) const {
    if (map_.pieces_of(p).size() != 1) return std::nullopt;
    const Piece& piece = map_.pieces()[map_.pieces_of(p)[0]];
    const ModelFiles::Entry* entry = source_.find(piece.theirs);
    if (entry == nullptr || entry->packed != nullptr || piece.count() != count || !piece.box.is_run()) return std::nullopt;
    return std::pair(entry->file, entry->tensor->begin + piece.box.offset() * element_bytes(entry->tensor->dtype));
  }

  const std::byte* assembled(size_t p, uint64_t count, nemo_dtype type) {
    const size_t element = checkpoint::element_bytes(type);
    buffer_.assign(count * element, std::byte{0});
    for (const size_t i : map_.pieces_of(p)) {
      const Piece& piece = map_.pieces()[i];
      const ModelFiles::Entry* entry = source_.find(piece.theirs);
      if (entry == nullptr)
        fill_constant(parameters_[p], piece, type, element);
      else if (piece.outer == 1)
        collect(*entry, piece, element, &buffer_[piece.first * element]);
      else
        gather_runs(*entry, piece, element);
      if (entry != nullptr) entry->release();
    }
    return buffer_.data();
  }

  // The piece's elements of the tensor. A packed one is unpacked expert after expert.
  void collect(const ModelFiles::Entry& entry, const Piece& piece, size_t element, std::byte* out) {
    if (entry.packed == nullptr) return gather(entry.data(), piece.box, element, out);
    Box box = piece.box;
    const int64_t experts = entry.tensor->shape[0], first = box.start[0], count = box.length[0];
    if (box.view[0] != experts || box.order[0] != 0)
      throw Error(Code::kUnsupported, "tensor " + piece.theirs + " is in MXFP4, and the plugin's map does not go by experts");
    box.view[0] = box.length[0] = 1, box.start[0] = 0;
    for (int64_t e = 0; e < count; ++e) {
      entry.packed->expert(first + e, piece.theirs, expert_, work_);
      gather(expert_.data(), box, element, out + static_cast<uint64_t>(e) * box.count() * element);
    }
  }

  void gather_runs(const ModelFiles::Entry& entry, const Piece& piece, size_t element) {
    dense_.resize(piece.count() * element);
    collect(entry, piece, element, dense_.data());
    for (uint64_t o = 0; o < piece.outer; ++o)
      std::memcpy(&buffer_[(piece.first + o * piece.step) * element], &dense_[o * piece.run * element], piece.run * element);
  }

  void fill_constant(const graph::Parameter& parameter, const Piece& piece, nemo_dtype type, size_t element) {
    if (parameter.init.kind != graph::Init::Kind::kConstant)
      throw Error(Code::kDataLoss,
                  "tensor " + piece.theirs + " is missing, and parameter " + parameter.name + " has no constant to start from");
    std::byte value[8];
    convert(reinterpret_cast<const std::byte*>(&parameter.init.a), NEMO_DTYPE_F64, value, type, 1);
    for (uint64_t o = 0; o < piece.outer; ++o)
      for (uint64_t i = 0; i < piece.run; ++i) std::memcpy(&buffer_[(piece.first + o * piece.step + i) * element], value, element);
  }

  const TensorMap& map_;
  const Source& source_;
  const std::vector<graph::Parameter>& parameters_;
  std::vector<std::byte> buffer_, dense_, expert_, work_;
};

// Data that is made up without a tokenizer has the model's vocabulary.
void set_vocabulary(config::Configuration& configuration) {
  const config::Section& model = configuration.section("model");
  config::Section& data = configuration.section("data");
  if (configuration.section("tokenizer").get_string("type") != "none" || !data.knows("vocab_size") || !model.knows("vocab_size")) return;
  if (data.get_int("vocab_size") == 0) data.set("vocab_size", {model.get_int("vocab_size")});
}

// Weights in MXFP4 become what config.json calls the model's dtype, bf16 where it does not say float32.
void unpack(ModelFiles& files, const Json& config, const fs::path& folder, const Say& warn) {
  const auto quantized = config.find("quantization_config");
  if (quantized == config.end() || !quantized->is_object() || quantized->value("quant_method", Json()) != "mxfp4") return;
  const bool single = config.value("dtype", Json()) == "float32" || config.value("torch_dtype", Json()) == "float32";
  const uint64_t before = files.bytes();
  const size_t count = files.unpack_mxfp4(single ? "F32" : "BF16");
  if (count == 0) throw Error(Code::kDataLoss, folder.string() + ": config.json says that weights are in MXFP4, but there is no *_blocks");
  const auto megabytes = [](uint64_t bytes) { return std::to_string(bytes / 1000000) + " MB"; };
  warn(folder.string() + ": " + std::to_string(count) + " tensors in MXFP4 are unpacked to " + (single ? "f32" : "bf16") +
       "; the weights grow from " + megabytes(before) + " to " + megabytes(files.bytes()) + ", and an export writes them unpacked");
}

void keep_files(checkpoint::Writer& writer, const fs::path& folder, const Json& layout) {
  writer.add_text_file(kKeptConfig, read_text(folder / "config.json"));
  if (fs::exists(folder / "generation_config.json")) writer.add_text_file(kKeptGeneration, read_text(folder / "generation_config.json"));
  writer.add_text_file(kKeptLayout, dump_json(layout));
  for (const std::string& name : tokenizer_files(folder)) writer.add_text_file("tokenizer/" + name, read_text(folder / name));
}

}  // namespace

ImportResult import_model(const ImportOptions& options, plugin::Registry& registry, const Say& warn) {
  const FolderConfig folder = read_config(options.from, registry, warn);
  const std::string recipe = "[model]\n" + folder.settings + options.recipe;
  std::vector<std::string> overrides = options.overrides;
  if (folder.max_position_embeddings > 0)
    overrides.insert(overrides.begin(), "data.seq_length=" + std::to_string(std::min<int64_t>(folder.max_position_embeddings, 2048)));
  const config::Document document = config::Document::parse(recipe, (options.from / "recipe.toml").string(), overrides);
  // The recipe says nothing of the backend unless asked to: it is for any machine.
  const bool asks = document.tables().contains("backend");
  runtime::Setup setup = runtime::make_setup(document, registry, warn, asks ? runtime::Needs::kTraining : runtime::Needs::kNothing);
  set_vocabulary(setup.configuration);
  const graph::Graph graph = runtime::placed(setup.section("model"), [&] {
    return passes::build(*setup.model, &setup.section("model"), {1, 1, 0, {}});
  });
  const TensorMap map(*setup.model, setup.section("model"), graph.parameters);
  ModelFiles files(options.from);
  unpack(files, folder.config.root, options.from, warn);
  const Source source(map, files, options.from, warn);
  Filler filler(map, source, graph.parameters);
  std::vector<size_t> order;
  for (size_t p = 0; p < graph.parameters.size(); ++p) order.push_back(p), (void)filler.dtype(p);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return filler.place(a) < filler.place(b); });

  checkpoint::Writer writer(options.to, files.bytes());
  for (const size_t p : order) filler.write(writer, p);
  writer.attribute("step", int64_t{0});
  writer.attribute("consumed_samples", int64_t{0});
  writer.attribute("seed", setup.section("job").get_int("seed"));
  writer.add_text_file(checkpoint::kRecipeFile, config::to_toml(setup.configuration));
  keep_files(writer, options.from, source.layout());
  checkpoint::Facts facts;
  for (const plugin::Component* c : setup.components())
    facts.plugins.push_back({std::string(plugin::kind_name(c->kind)), c->id, c->version});
  writer.commit(facts);
  return {setup.model->id, graph.parameters.size(), files.bytes()};
}

}  // namespace nemo::hub

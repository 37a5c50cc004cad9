#include "core/hub/model_folder.hpp"

#include <algorithm>
#include <array>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"
#include "core/config/value.hpp"
#include "core/plugin/error.hpp"

namespace nemo::hub {
namespace fs = std::filesystem;
namespace {

// Keys of config.json that say nothing about the model's computation.
constexpr std::array kNeutral{"architectures",
                              "model_type",
                              "transformers_version",
                              "torch_dtype",
                              "dtype",
                              "bos_token_id",
                              "eos_token_id",
                              "pad_token_id",
                              "sep_token_id",
                              "cls_token_id",
                              "decoder_start_token_id",
                              "use_cache",
                              "_name_or_path",
                              "name_or_path",
                              "auto_map",
                              "initializer_range",
                              "task_specific_params",
                              "summary_activation",
                              "summary_first_dropout",
                              "summary_proj_to_labels",
                              "summary_type",
                              "summary_use_proj",
                              "id2label",
                              "label2id",
                              "output_attentions",
                              "output_hidden_states",
                              "return_dict",
                              "finetuning_task",
                              "problem_type",
                              "cache_implementation",
                              "attn_implementation",
                              "_attn_implementation_autoset",
                              "gradient_checkpointing",
                              "n_ctx",
                              "unk_token_id",
                              "is_encoder_decoder",
                              "chunk_size_feed_forward",
                              "pretraining_tp",
                              "output_router_logits"};

bool is_neutral(const std::string& key) { return std::find(kNeutral.begin(), kNeutral.end(), key) != kNeutral.end(); }

struct Kind {
  std::string architecture, model_type;
};

Kind kind_of(const Json& config, const std::string& where) {
  Kind kind;
  const auto it = config.find("architectures");
  if (it != config.end() && it->is_array() && !it->empty() && it->front().is_string()) kind.architecture = it->front();
  if (config.contains("model_type") && config["model_type"].is_string()) kind.model_type = config["model_type"];
  if (kind.architecture.empty() && kind.model_type.empty())
    throw Error(Code::kUnsupported, where + " names neither 'architectures' nor 'model_type', so its kind of model is unknown");
  return kind;
}

std::string str(nemo_str s) { return {s.ptr, s.len}; }

const plugin::Component& find_plugin(const Kind& kind, plugin::Registry& registry, const std::string& where) {
  std::vector<std::string> known;
  for (const plugin::Candidate& candidate : registry.list().candidates) {
    if (!candidate.probe.ok) continue;
    for (const plugin::ComponentName& name : candidate.probe.components) {
      if (name.kind != NEMO_KIND_MODEL) continue;
      const plugin::Component& model = registry.find(NEMO_KIND_MODEL, name.id);
      const auto& api = model.api<nemo_model_api>();
      for (uint64_t i = 0; i < api.n_hf_architectures; ++i) {
        const nemo_hf_architecture& a = api.hf_architectures[i];
        if (kind.architecture.empty() ? str(a.model_type) == kind.model_type : str(a.architecture) == kind.architecture) return model;
        known.push_back(str(a.architecture));
      }
    }
  }
  const std::string near = nearest_name(kind.architecture, known);
  std::string all;
  for (const std::string& k : known) all += " " + k;
  throw Error(Code::kUnsupported, where + ": no model plugin reads architecture '" + kind.architecture + "' (model_type '" +
                                      kind.model_type + "')" + (near.empty() ? "" : "; the nearest known is " + near) + "; known:" + all);
}

config::Value to_value(const Json& v, const std::string& where, const std::string& path) {
  double number = 0;
  if (v.is_boolean()) return {v.get<bool>()};
  if (v.is_number_integer()) return {v.get<int64_t>()};
  if (to_double(v, number)) return {number};
  if (v.is_string()) return {v.get<std::string>()};
  if (!v.is_array()) throw Error(Code::kInternal, where + ": the plugin set " + path + " to " + v.dump() + ", which no setting can be");
  config::List list;
  for (const Json& element : v) list.push_back(to_value(element, where, path));
  return {std::move(list)};
}

void write_lines(const Json& object, const std::string& prefix, const std::string& where, std::string& out) {
  for (const auto& [key, value] : object.items()) {
    double ignored = 0;
    if (value.is_object() && !to_double(value, ignored))
      write_lines(value, config::join_path(prefix, key), where, out);
    else if (!value.is_null())
      out += config::join_path(prefix, key) + " = " + config::to_literal(to_value(value, where, key)) + "\n";
  }
}

void check_unread(const JsonDocument& config, const plugin::Component& model, const Say& warn) {
  std::string unread;
  for (const std::string& key : config.unread()) {
    if (key == "quantization_config" && !config.root()[key].is_null())
      throw Error(Code::kUnsupported, config.where() + ": quantization_config: model plugin '" + model.id +
                                          "' does not read quantized weights; save the model in bf16 first");
    if (!is_neutral(key) && !config.root()[key].is_null()) unread += (unread.empty() ? "" : ", ") + key;
  }
  if (!unread.empty()) warn(config.where() + ": not used by model plugin '" + model.id + "': " + unread);
}

}  // namespace

std::string to_toml_lines(const Json& settings, const std::string& where) {
  std::string out;
  write_lines(settings, "", where, out);
  return out;
}

FolderConfig read_config(const fs::path& folder, plugin::Registry& registry, const Say& warn) {
  const fs::path file = folder / "config.json";
  if (!fs::exists(file)) throw Error(Code::kNotFound, "'" + folder.string() + "' is no Hugging Face model folder: it has no config.json");
  JsonText text = read_json(file);
  JsonDocument config(text.root, file.string()), settings(Json::object(), "settings");
  const plugin::Component& model = find_plugin(kind_of(text.root, file.string()), registry, file.string());
  const auto& api = model.api<nemo_model_api>();
  if (api.hf_import == nullptr) throw Error(Code::kUnsupported, "model plugin '" + model.id + "' cannot import");
  try {
    plugin::check(api.hf_import(model.host, &json_api(), config.handle(), settings.handle()));
  } catch (const plugin::PluginError& e) {
    const std::string what = e.what();
    throw Error(e.code(), what.find(file.string()) == std::string::npos ? file.string() + ": " + what : what);
  }
  check_unread(config, model, warn);
  int64_t positions = 0;
  if (const Json* n = settings.find("max_position_embeddings"); n != nullptr && n->is_number_integer()) positions = n->get<int64_t>();
  return {&model, std::move(text), "plugin = " + config::to_literal({model.id}) + "\n" + to_toml_lines(settings.root(), file.string()),
          positions};
}

std::vector<std::string> tokenizer_files(const fs::path& folder) {
  static constexpr std::array kNames{
      "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
      "vocab.txt",      "chat_template.jinja",   "chat_template.json"};
  std::vector<std::string> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
    const bool known = std::find(kNames.begin(), kNames.end(), name) != kNames.end() || extension == ".model" || extension == ".tiktoken";
    if (entry.is_regular_file() && known) found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace nemo::hub

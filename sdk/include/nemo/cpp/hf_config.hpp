// nemo/cpp/hf_config.hpp - config.json and a plugin's settings, written once and used in both directions.
//
//   void hf_config(HfConfig& c) {
//     c.integer("num_layers", "num_hidden_layers");
//     c.number("layernorm_epsilon", "rms_norm_eps", 1e-6);   // 1e-6: what transformers takes where the key is absent
//     c.expect("hidden_act", "silu");                        // anything else is refused by name
//   }
//
// On import each call reads the key and sets the setting; on export it reads the setting and writes the key.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nemo/cpp/config.hpp"

namespace nemo::sdk {
inline namespace v1 {

// A JSON document of the host; paths are dotted, array elements by index ("layer_types.0").
class Json {
 public:
  Json(const nemo_json_api* api, nemo_json* document) : api_(api), document_(document) {}
  nemo_json_type type(std::string_view path) const { return api_->type(document_, to_str(path)); }
  // There and not null.
  bool has(std::string_view path) const { return type(path) > NEMO_JSON_NULL; }
  bool boolean(std::string_view path) const { return read<uint8_t>(api_->get_bool, path) != 0; }
  int64_t integer(std::string_view path) const { return read<int64_t>(api_->get_int, path); }
  double number(std::string_view path) const { return read<double>(api_->get_float, path); }
  std::string string(std::string_view path) const { return to_string(read<nemo_str>(api_->get_string, path)); }
  uint64_t size(std::string_view path) const { return read<uint64_t>(api_->get_size, path); }
  bool boolean(std::string_view path, bool missing) const { return has(path) ? boolean(path) : missing; }
  int64_t integer(std::string_view path, int64_t missing) const { return has(path) ? integer(path) : missing; }
  double number(std::string_view path, double missing) const { return has(path) ? number(path) : missing; }
  std::string string(std::string_view path, std::string_view missing) const { return has(path) ? string(path) : std::string(missing); }
  // An array, empty where absent.
  std::vector<std::string> strings(std::string_view path) const {
    return list<std::string>(path, [this](const std::string& p) { return string(p); });
  }
  std::vector<int64_t> integers(std::string_view path) const {
    return list<int64_t>(path, [this](const std::string& p) { return integer(p); });
  }
  std::vector<double> numbers(std::string_view path) const {
    return list<double>(path, [this](const std::string& p) { return number(p); });
  }

  void set_null(std::string_view path) { check(api_->set_null(document_, to_str(path))); }
  void set(std::string_view path, bool v) { check(api_->set_bool(document_, to_str(path), v)); }
  void set(std::string_view path, int64_t v) { check(api_->set_int(document_, to_str(path), v)); }
  void set(std::string_view path, int v) { set(path, int64_t{v}); }
  void set(std::string_view path, double v) { check(api_->set_float(document_, to_str(path), v)); }
  void set(std::string_view path, std::string_view v) { check(api_->set_string(document_, to_str(path), to_str(v))); }
  void set(std::string_view path, const std::string& v) { set(path, std::string_view(v)); }
  void set(std::string_view path, const char* v) { set(path, std::string_view(v)); }
  template <class T>
  void set(std::string_view path, const std::vector<T>& values) {
    check(api_->set_array(document_, to_str(path), values.size()));
    for (size_t i = 0; i < values.size(); ++i) set(std::string(path) + "." + std::to_string(i), static_cast<const T&>(values[i]));
  }
  void erase(std::string_view path) { check(api_->erase(document_, to_str(path))); }

 private:
  template <class T, class F>
  T read(F getter, std::string_view path) const {
    T out{};
    check(getter(document_, to_str(path), &out));
    return out;
  }
  template <class T, class F>
  std::vector<T> list(std::string_view path, F element) const {
    std::vector<T> out;
    if (!has(path)) return out;
    for (uint64_t i = 0, n = size(path); i < n; ++i) out.push_back(element(std::string(path) + "." + std::to_string(i)));
    return out;
  }
  const nemo_json_api* api_;
  nemo_json* document_;
};

// Both directions of hf_import and hf_export. `json()` is config.json in both.
class HfConfig {
 public:
  HfConfig(Json json, Json settings) : json_(json), settings_(settings) {}                  // import
  HfConfig(Json json, const nemo_config* config) : json_(json), config_(Config(config)) {}  // export

  bool importing() const { return settings_.has_value(); }
  Json& json() { return json_; }
  // The kind of checkpoint. On export "" unless it was imported (or the plugin has set it).
  std::string architecture() const { return json_.string("architectures.0", ""); }
  std::string model_type() const { return json_.string("model_type", ""); }
  // Export: names the kind, where the model was not imported as one.
  void set_kind(std::string_view architecture, std::string_view model_type) {
    if (importing() || !this->architecture().empty()) return;
    json_.set("architectures", std::vector<std::string>{std::string(architecture)});
    json_.set("model_type", model_type);
  }

  // The same value under two names. Without `missing` import requires the key.
  void integer(std::string_view setting, std::string_view key) {
    importing() ? put(setting, json_.integer(key)) : integer_out(setting, key);
  }
  void integer(std::string_view setting, std::string_view key, int64_t missing) {
    importing() ? put(setting, json_.integer(key, missing)) : integer_out(setting, key);
  }
  void number(std::string_view setting, std::string_view key) {
    importing() ? put(setting, json_.number(key)) : json_.set(key, config_->number(setting));
  }
  void number(std::string_view setting, std::string_view key, double missing) {
    importing() ? put(setting, json_.number(key, missing)) : json_.set(key, config_->number(setting));
  }
  // A number whose key transformers declares as an integer: export writes one where it is whole.
  void whole_number(std::string_view setting, std::string_view key, double missing) {
    if (importing()) return put(setting, json_.number(key, missing));
    const double value = config_->number(setting);
    value == double(int64_t(value)) ? json_.set(key, int64_t(value)) : json_.set(key, value);
  }
  void boolean(std::string_view setting, std::string_view key, bool missing) {
    importing() ? put(setting, json_.boolean(key, missing)) : json_.set(key, config_->boolean(setting));
  }
  // Words that differ: {theirs, ours}. Others are refused by name. On export the imported spelling stays where it means the same.
  struct Word {
    std::string_view theirs, ours;
  };
  void word(std::string_view setting, std::string_view key, std::initializer_list<Word> words, std::string_view missing = "") {
    const std::string value = json_.string(key, missing);
    if (!importing()) return word_out(setting, key, words, value);
    for (const Word& w : words)
      if (w.theirs == value) return put(setting, std::string(w.ours));
    refuse(key, "\"" + value + "\"");
  }

  // The one value that the plugin computes: import refuses others, export writes it where the key is absent.
  void expect(std::string_view key, std::string_view value) {
    if (importing() ? json_.has(key) && json_.string(key) != value : false) refuse(key, "\"" + json_.string(key) + "\"");
    if (!importing() && json_.type(key) == NEMO_JSON_ABSENT) json_.set(key, value);
  }
  void expect(std::string_view key, const char* value) { expect(key, std::string_view(value)); }
  void expect(std::string_view key, bool value) {
    if (importing() && json_.boolean(key, value) != value) refuse(key, value ? "false" : "true");
    if (!importing() && json_.type(key) == NEMO_JSON_ABSENT) json_.set(key, value);
  }
  // Absent, null or this number; export leaves the key as it is.
  void expect_number(std::string_view key, double value) {
    if (importing() && json_.number(key, value) != value) refuse(key, std::to_string(json_.number(key)));
  }
  // Absent or null; export leaves it so.
  void expect_absent(std::string_view key) {
    if (importing() && json_.has(key)) refuse(key, "a value");
  }
  // Keys that say nothing about what the plugin computes, so that no one is told that they are not used.
  void without_meaning(std::initializer_list<std::string_view> keys) const {
    for (const std::string_view key : keys) (void)json_.type(key);
  }
  [[noreturn]] void refuse(std::string_view key, const std::string& value) const {
    throw Error(NEMO_CODE_UNSUPPORTED, "config.json: " + std::string(key) + " = " + value + " is not implemented by this model plugin")
        .with("key", std::string(key));
  }

  // Import: sets a setting. Nothing on export.
  template <class T>
  void put(std::string_view setting, const T& value) {
    if (importing()) settings_->set(setting, value);
  }
  // A setting in either direction; on import one that was put before.
  int64_t integer_of(std::string_view setting) const { return importing() ? settings_->integer(setting) : config_->integer(setting); }
  double number_of(std::string_view setting) const { return importing() ? settings_->number(setting) : config_->number(setting); }
  bool boolean_of(std::string_view setting) const { return importing() ? settings_->boolean(setting) : config_->boolean(setting); }
  std::string string_of(std::string_view setting) const { return importing() ? settings_->string(setting) : config_->string(setting); }
  // Export only: the settings.
  const Config& config() const { return *config_; }

 private:
  // 0 in our settings means "as another setting says"; a plugin writes those keys itself.
  void integer_out(std::string_view setting, std::string_view key) { json_.set(key, config_->integer(setting)); }
  void word_out(std::string_view setting, std::string_view key, std::initializer_list<Word> words, const std::string& now) {
    const std::string ours = config_->string(setting);
    for (const Word& w : words)
      if (w.ours == ours && w.theirs == now) return json_.set(key, now);
    for (const Word& w : words)
      if (w.ours == ours) return json_.set(key, w.theirs);
    throw Error(NEMO_CODE_UNSUPPORTED, std::string(setting) + " = \"" + ours + "\" has no word in config.json's " + std::string(key))
        .with("path", std::string(setting));
  }
  Json json_;
  std::optional<Json> settings_;
  std::optional<Config> config_;
};

// Weights that are stored in a quantised form.
inline void hf_refuse_quantized(HfConfig& c) {
  if (!c.importing() || !c.json().has("quantization_config")) return;
  throw Error(NEMO_CODE_UNSUPPORTED, "config.json: the weights are quantised (quantization_config.quant_method = \"" +
                                         c.json().string("quantization_config.quant_method", "?") +
                                         "\"); import a bf16 form of the checkpoint (transformers: dequantize, then save_pretrained)")
      .with("key", "quantization_config");
}

}  // namespace v1
}  // namespace nemo::sdk

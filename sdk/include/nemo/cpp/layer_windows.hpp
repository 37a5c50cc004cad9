// nemo/cpp/layer_windows.hpp - models in which some layers see a sliding window only: settings, and config.json's layer_types.
#pragma once

#include <algorithm>

#include "nemo/cpp/hf_config.hpp"

namespace nemo::sdk {
inline namespace v1 {

inline std::vector<Field> window_fields() {
  return {
      integer("window_size", "0", "tokens that a token sees in layers with a window, itself included; 0 = no windows")
          .min(0)
          .unit("tokens")
          .changes_checkpoint(),
      list("window_layers", NEMO_FIELD_INT, "[]", "layers with the window; empty: as full_attention_every says")
          .min(0)
          .changes_checkpoint(),
      integer("full_attention_every", "0", "every k-th layer has no window; 0 = all have it").min(0).changes_checkpoint(),
  };
}

// By layer: whether it has the window.
inline std::vector<bool> windowed_layers(const Config& c, int64_t layers) {
  std::vector<bool> windowed(size_t(layers), false);
  if (c.integer("window_size") == 0) return windowed;
  const std::vector<int64_t> listed = c.integers("window_layers");
  const int64_t every = c.integer("full_attention_every");
  for (int64_t i = 0; i < layers; ++i)
    windowed[size_t(i)] = listed.empty() ? every == 0 || (i + 1) % every != 0 : std::find(listed.begin(), listed.end(), i) != listed.end();
  for (const int64_t i : listed)
    if (i >= layers) config_fault("window_layers", "window_layers names layer " + std::to_string(i) + " of " + std::to_string(layers));
  return windowed;
}

inline std::vector<int64_t> window_by_layer(const Config& c, int64_t layers) {
  std::vector<int64_t> windows;
  for (const bool windowed : windowed_layers(c, layers)) windows.push_back(windowed ? c.integer("window_size") : 0);
  return windows;
}

// `key` has the window's size; layer_types lists the layers, or `by_default` says which have it. `enabled`: a key that must be true (""
// where the architecture has none). num_layers must have been put.
template <class ByDefault>
void hf_windows(HfConfig& c, const char* key, ByDefault by_default, const char* enabled, int64_t missing = 0) {
  Json& j = c.json();
  if (c.importing()) {
    const std::vector<std::string> types = j.strings("layer_types");
    const int64_t layers = c.integer_of("num_layers");
    if (!types.empty() && int64_t(types.size()) != layers)
      throw Error(NEMO_CODE_CONFIG_INVALID,
                  "config.json: layer_types lists " + std::to_string(types.size()) + " of " + std::to_string(layers) + " layers");
    std::vector<int64_t> windowed;
    for (int64_t i = 0; i < layers; ++i) {
      if (!types.empty() && types[size_t(i)] != "sliding_attention" && types[size_t(i)] != "full_attention")
        c.refuse("layer_types." + std::to_string(i), "\"" + types[size_t(i)] + "\"");
      if (types.empty() ? by_default(i) : types[size_t(i)] == "sliding_attention") windowed.push_back(i);
    }
    const bool on = *enabled == '\0' || j.boolean(enabled, false);
    const int64_t window = j.type(key) == NEMO_JSON_ABSENT ? missing : j.integer(key, 0);
    const bool used = on && window > 0 && !windowed.empty();
    c.put("window_size", used ? window : 0);
    if (used) c.put("window_layers", windowed);
    return;
  }
  const int64_t window = c.integer_of("window_size"), layers = c.integer_of("num_layers");
  if (*enabled != '\0') j.set(enabled, window > 0);
  if (window > 0)
    j.set(key, window);
  else if (*enabled == '\0' || !j.has(key))
    j.set_null(key);
  if (window == 0 && !j.has("layer_types")) return;
  std::vector<std::string> types;
  for (const bool windowed : windowed_layers(c.config(), layers)) types.push_back(windowed ? "sliding_attention" : "full_attention");
  j.set("layer_types", types);
}

}  // namespace v1
}  // namespace nemo::sdk

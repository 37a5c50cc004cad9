// nemo/cpp/plugin.hpp - the entry function and the metadata record of a plugin written in C++.
//
//   NEMO_PLUGIN("model:llama\0",                     // one "kind:id\0" for each component, for listing without loading
//               nemo::sdk::component(NEMO_KIND_MODEL, "llama", "1.0.0", "Llama family", &api, schema.get()))
#pragma once

#include "nemo/cpp/config.hpp"

namespace nemo::sdk {
inline namespace v1 {

inline nemo_component component(nemo_kind kind, std::string_view id, std::string_view version, std::string_view doc, const void* api,
                                const nemo_schema* schema) {
  nemo_component c{};
  c.struct_size = sizeof c;
  c.kind = kind;
  c.id = to_str(id);
  c.version = to_str(version);
  c.doc = to_str(doc);
  c.api = api;
  c.schema = schema;
  return c;
}

// Negotiates the minor and fills *out. Called by NEMO_PLUGIN only.
template <size_t N>
nemo_error* enter(const nemo_host_api* api, nemo_host* handle, const nemo_component (&components)[N], const nemo_plugin** out) {
  if (api->abi_minor_min > NEMO_ABI_MINOR || (NEMO_ABI_DRAFT && api->sdk_build != NEMO_SDK_BUILD))
    return api->error_new(handle, NEMO_CODE_UNSUPPORTED,
                          NEMO_STR("plugin was built with SDK 1." NEMO_TEXT(NEMO_ABI_MINOR) " build " NEMO_TEXT(
                              NEMO_SDK_BUILD) ", which this host does not serve; rebuild the plugin with the host's SDK"));
  host() = {api, handle};
  static nemo_plugin plugin{};
  plugin.struct_size = sizeof plugin;
  plugin.abi_minor = api->abi_minor_max < NEMO_ABI_MINOR ? api->abi_minor_max : NEMO_ABI_MINOR;
  plugin.sdk_build = NEMO_SDK_BUILD;
  plugin.components = components;
  plugin.n_components = N;
  plugin.component_stride = sizeof(nemo_component);
  *out = &plugin;
  return nullptr;
}

}  // namespace v1
}  // namespace nemo::sdk

// The names of the entry's parameters must not hide a plugin's own ("api").
#define NEMO_PLUGIN(record, ...)                                                                             \
  NEMO_RECORD(record);                                                                                       \
  extern "C" __attribute__((visibility("default"))) nemo_error* nemo_plugin_entry_v1(                        \
      const nemo_host_api* nemo_entry_api, nemo_host* nemo_entry_host, const nemo_plugin** nemo_entry_out) { \
    static const nemo_component nemo_entry_components[] = {__VA_ARGS__};                                     \
    return nemo::sdk::enter(nemo_entry_api, nemo_entry_host, nemo_entry_components, nemo_entry_out);         \
  }

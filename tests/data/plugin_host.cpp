#include "tests/data/plugin_host.hpp"

#include "nemo/plugin.h"

namespace nemo::testing {
namespace {

nemo_error* fail(nemo_code code, const std::string& message) { return new nemo_error{code, message, {}}; }

template <class T>
nemo_error* read(const nemo_config* config, nemo_str path, T* out) {
  const std::string key(path.ptr, path.len);
  if (!config->values.contains(key)) return fail(NEMO_CODE_INVALID_ARGUMENT, "the schema has no set path " + key);
  *out = config->values[key].template get<T>();
  return nullptr;
}

const nlohmann::json& list_of(const nemo_config* config, nemo_str path) { return config->values.at(std::string(path.ptr, path.len)); }

nemo_error* read_string(const nlohmann::json& value, nemo_str* out) {
  const auto& text = value.get_ref<const std::string&>();
  *out = {text.data(), text.size()};
  return nullptr;
}

void fill_values(nemo_host_api& api) {
  api.config_has = [](const nemo_config* c, nemo_str path) -> uint8_t { return c->values.contains(std::string(path.ptr, path.len)); };
  api.config_bool = [](const nemo_config* c, nemo_str path, uint8_t* out) {
    bool value = false;
    nemo_error* error = read(c, path, &value);
    *out = value;
    return error;
  };
  api.config_int = [](const nemo_config* c, nemo_str path, int64_t* out) { return read(c, path, out); };
  api.config_float = [](const nemo_config* c, nemo_str path, double* out) { return read(c, path, out); };
  api.config_string = [](const nemo_config* c, nemo_str path, nemo_str* out) { return read_string(list_of(c, path), out); };
  api.config_list_size = [](const nemo_config* c, nemo_str path, uint64_t* out) -> nemo_error* {
    *out = list_of(c, path).size();
    return nullptr;
  };
  api.config_list_float = [](const nemo_config* c, nemo_str path, uint64_t i, double* out) -> nemo_error* {
    *out = list_of(c, path)[i].get<double>();
    return nullptr;
  };
  api.config_list_string = [](const nemo_config* c, nemo_str path, uint64_t i, nemo_str* out) {
    return read_string(list_of(c, path)[i], out);
  };
}

nemo_host_api make_host_api() {
  nemo_host_api api{};
  api.struct_size = sizeof api;
  api.abi_minor_max = NEMO_ABI_MINOR;
  api.sdk_build = NEMO_SDK_BUILD;
  api.error_new = [](nemo_host*, nemo_code code, nemo_str m) { return fail(code, std::string(m.ptr, m.len)); };
  api.error_set = [](nemo_error* e, nemo_str key, nemo_str value) {
    e->facts[std::string(key.ptr, key.len)] = std::string(value.ptr, value.len);
  };
  api.error_code = [](const nemo_error* e) { return e->code; };
  api.error_message = [](const nemo_error* e) { return nemo_str{e->message.data(), e->message.size()}; };
  api.error_free = [](nemo_error* e) { delete e; };
  api.log = [](nemo_host*, nemo_log_level, nemo_str, nemo_str) {};
  api.cancelled = [](nemo_host*) -> uint8_t { return 0; };
  api.get_extension = [](nemo_host*, nemo_str) -> const void* { return nullptr; };
  fill_values(api);
  return api;
}

// Defaults are TOML literals of the kind that JSON has too.
nlohmann::json with_defaults(const nemo_schema& schema, nlohmann::json settings) {
  for (uint64_t i = 0; i < schema.n_fields; ++i) {
    const nemo_field& f = *reinterpret_cast<const nemo_field*>(reinterpret_cast<const char*>(schema.fields) + i * schema.field_stride);
    const std::string path(f.path.ptr, f.path.len);
    EXPECT_GT(f.doc.len, 0u) << path << " has no doc";
    if (!settings.contains(path) && f.default_value.len > 0)
      settings[path] = nlohmann::json::parse(std::string(f.default_value.ptr, f.default_value.len));
  }
  return settings;
}

}  // namespace

const nemo_host_api& host_api() {
  static const nemo_host_api api = make_host_api();
  return api;
}

DataPlugin::DataPlugin(const std::string& name, nlohmann::json settings) {
  const std::string file = std::string(NEMO_BUILD_DIR) + "/lib/nemo/plugins/nemo_data_" + name + ".so";
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) throw std::runtime_error(::dlerror());
  const auto entry = reinterpret_cast<nemo_plugin_entry_fn*>(::dlsym(library, NEMO_PLUGIN_ENTRY_NAME));
  const nemo_plugin* plugin = nullptr;
  check(entry(&host_api(), nullptr, &plugin));
  const nemo_component& component = plugin->components[0];
  EXPECT_EQ(std::string(component.id.ptr, component.id.len), name);
  api_ = static_cast<const nemo_data_api*>(component.api);
  config_.values = with_defaults(*component.schema, std::move(settings));
}

Source DataPlugin::open(const Open& o) {
  nemo_data_open request{sizeof(nemo_data_open),
                         0,
                         {o.split.data(), o.split.size()},
                         o.seq_length,
                         o.seed,
                         o.shard,
                         o.n_shards,
                         o.micro,
                         o.global,
                         o.max_samples,
                         nullptr,
                         nullptr};
  if (o.tokenizer != nullptr) {
    tokenizers_.push_back(std::make_unique<text::TokenizerHandle>(*o.tokenizer, host_api(), nullptr));
    request.tokenizer_api = &text::tokenizer_api();
    request.tokenizer = tokenizers_.back()->get();
  }
  nemo_data* data = nullptr;
  check(api_->open(nullptr, &config_, &request, &data));
  const int64_t encoder = config_.values.value("encoder_seq_length", int64_t{0});
  return {*api_, data, o.micro, o.seq_length, encoder == 0 ? o.seq_length : encoder};
}

bool DataPlugin::has_field(const std::string& field) const {
  return api_->has_field != nullptr && api_->has_field(nullptr, &config_, {field.data(), field.size()}) != 0;
}

std::string DataPlugin::corpus() const {
  std::string out;
  check(api_->corpus(nullptr, &config_, {&out, [](void* ctx, const void* bytes, uint64_t len) -> nemo_error* {
                                           static_cast<std::string*>(ctx)->append(static_cast<const char*>(bytes), len);
                                           return nullptr;
                                         }}));
  return out;
}

std::vector<int32_t> read_stream(DataPlugin& plugin, Open open, int64_t batches, const std::string& field) {
  std::vector<Source> shards;
  for (open.shard = 0; open.shard < open.n_shards; ++open.shard) shards.push_back(plugin.open(open));
  std::vector<int32_t> out;
  for (int64_t b = 0; b < batches; ++b)
    for (Source& shard : shards)
      for (int64_t m = 0; m < open.global / open.n_shards / open.micro; ++m) {
        const std::vector<int32_t> part = shard.next({field})[field];
        out.insert(out.end(), part.begin(), part.end());
      }
  return out;
}

}  // namespace nemo::testing

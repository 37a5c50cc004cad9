#include "tests/models/fake_host.hpp"

namespace nemo::models_test {
namespace {

std::string text(nemo_str s) { return std::string(s.ptr, s.len); }
Fault& fault(nemo_error* e) { return *reinterpret_cast<Fault*>(e); }

template <class T, class Out>
nemo_error* read(const nemo_config* config, nemo_str path, Out* out) {
  const auto& values = reinterpret_cast<const Settings*>(config)->values;
  const auto it = values.find(text(path));
  if (it == values.end()) return new_error(NEMO_CODE_INVALID_ARGUMENT, "the schema has no value for '" + text(path) + "'");
  try {
    *out = static_cast<Out>(it->second.get<T>());
    return nullptr;
  } catch (const nlohmann::json::exception&) {
    return new_error(NEMO_CODE_INVALID_ARGUMENT, "getter of the wrong type for '" + text(path) + "'");
  }
}

nemo_error* read_string(const nemo_config* config, nemo_str path, nemo_str* out) {
  const auto& values = reinterpret_cast<const Settings*>(config)->values;
  const auto it = values.find(text(path));
  if (it == values.end() || !it->second.is_string()) return new_error(NEMO_CODE_INVALID_ARGUMENT, "no text at '" + text(path) + "'");
  const auto& s = it->second.get_ref<const std::string&>();
  *out = {s.data(), s.size()};
  return nullptr;
}

nemo_error* read_size(const nemo_config* config, nemo_str path, uint64_t* out) {
  nlohmann::json list;
  nemo_error* error = read<nlohmann::json>(config, path, &list);
  *out = list.size();
  return error;
}

void flatten(const nlohmann::json& table, const std::string& prefix, std::map<std::string, nlohmann::json>& out) {
  for (const auto& [key, value] : table.items()) {
    if (value.is_object())
      flatten(value, prefix + key + ".", out);
    else
      out[prefix + key] = value;
  }
}

}  // namespace

nemo_error* new_error(nemo_code code, const std::string& message) { return reinterpret_cast<nemo_error*>(new Fault(code, message, {})); }

void rethrow(nemo_error* error) {
  if (error == nullptr) return;
  const Fault copy = fault(error);
  delete &fault(error);
  throw copy;
}

const nemo_host_api* host_api() {
  static const nemo_host_api api = [] {
    nemo_host_api a{};
    a.struct_size = sizeof a;
    a.abi_minor_min = a.abi_minor_max = NEMO_ABI_MINOR;
    a.sdk_build = NEMO_SDK_BUILD;
    a.error_new = [](nemo_host*, nemo_code code, nemo_str message) { return new_error(code, text(message)); };
    a.error_set = [](nemo_error* e, nemo_str key, nemo_str value) { fault(e).facts[text(key)] = text(value); };
    a.error_code = [](const nemo_error* e) { return reinterpret_cast<const Fault*>(e)->code; };
    a.error_message = [](const nemo_error* e) {
      const char* what = reinterpret_cast<const Fault*>(e)->what();
      return nemo_str{what, std::string_view(what).size()};
    };
    a.error_free = [](nemo_error* e) { delete reinterpret_cast<Fault*>(e); };
    a.log = [](nemo_host*, nemo_log_level, nemo_str, nemo_str) {};
    a.cancelled = [](nemo_host*) -> uint8_t { return 0; };
    a.config_bool = [](const nemo_config* c, nemo_str path, uint8_t* out) { return read<bool>(c, path, out); };
    a.config_int = [](const nemo_config* c, nemo_str path, int64_t* out) { return read<int64_t>(c, path, out); };
    a.config_float = [](const nemo_config* c, nemo_str path, double* out) { return read<double>(c, path, out); };
    a.config_string = read_string;
    a.config_list_size = read_size;
    a.config_list_float = [](const nemo_config* c, nemo_str path, uint64_t i, double* out) {
      nlohmann::json list;
      if (nemo_error* e = read<nlohmann::json>(c, path, &list)) return e;
      *out = list.at(i).get<double>();
      return static_cast<nemo_error*>(nullptr);
    };
    return a;
  }();
  return &api;
}

Settings::Settings(const nemo_schema& schema, const nlohmann::json& given) {
  std::map<std::string, nlohmann::json> flat;
  flatten(given, "", flat);
  flat.erase("plugin");
  for (uint64_t i = 0; i < schema.n_fields; ++i) {
    const nemo_field& field = schema.fields[i];
    const std::string path = text(field.path), fallback = text(field.default_value);
    if (const auto it = flat.find(path); it != flat.end()) {
      values[path] = it->second;
      flat.erase(it);
    } else if ((field.flags & NEMO_FIELD_REQUIRED) != 0) {
      throw std::runtime_error("required setting '" + path + "' is missing");
    } else if (!fallback.empty()) {
      values[path] = nlohmann::json::parse(fallback);  // the defaults in use are written alike in TOML and JSON
    }
  }
  if (!flat.empty()) throw std::runtime_error("unknown setting '" + flat.begin()->first + "'");
}

}  // namespace nemo::models_test

#include "core/config/config_api.hpp"

#include "core/config/section.hpp"
#include "core/plugin/error.hpp"

namespace nemo::config {
namespace {

using plugin::guard;

const Section& section_of(const nemo_config* config) { return *static_cast<const Section*>(config); }
std::string_view view(nemo_str s) { return {s.ptr, s.len}; }
nemo_str text(std::string_view s) { return {s.data(), s.size()}; }

template <class T>
const T& element(const nemo_config* config, nemo_str path, uint64_t i) {
  const Section& section = section_of(config);
  const List& list = section.get_list(view(path));
  const std::string name = section.name() + "." + std::string(view(path));
  if (i >= list.size())
    throw Error(Code::kInvalidArgument, name + " has " + std::to_string(list.size()) + " elements; there is no index " + std::to_string(i));
  if (list[i].as<T>() == nullptr) throw Error(Code::kInvalidArgument, name + " is a list of another type than was asked for");
  return *list[i].as<T>();
}

// An unknown path has no value; the slot cannot return an error.
uint8_t has(const nemo_config* config, nemo_str path) {
  const Section& section = section_of(config);
  return section.knows(view(path)) && section.has(view(path));
}
nemo_error* get_bool(const nemo_config* config, nemo_str path, uint8_t* out) {
  return guard([&] { *out = section_of(config).get_bool(view(path)); });
}
nemo_error* get_int(const nemo_config* config, nemo_str path, int64_t* out) {
  return guard([&] { *out = section_of(config).get_int(view(path)); });
}
nemo_error* get_float(const nemo_config* config, nemo_str path, double* out) {
  return guard([&] { *out = section_of(config).get_float(view(path)); });
}
nemo_error* get_string(const nemo_config* config, nemo_str path, nemo_str* out) {
  return guard([&] { *out = text(section_of(config).get_string(view(path))); });
}
nemo_error* list_size(const nemo_config* config, nemo_str path, uint64_t* out) {
  return guard([&] { *out = section_of(config).get_list(view(path)).size(); });
}
nemo_error* list_int(const nemo_config* config, nemo_str path, uint64_t i, int64_t* out) {
  return guard([&] { *out = element<int64_t>(config, path, i); });
}
nemo_error* list_float(const nemo_config* config, nemo_str path, uint64_t i, double* out) {
  return guard([&] { *out = element<double>(config, path, i); });
}
nemo_error* list_string(const nemo_config* config, nemo_str path, uint64_t i, nemo_str* out) {
  return guard([&] { *out = text(element<std::string>(config, path, i)); });
}

}  // namespace

void fill_config_api(nemo_host_api& api) {
  api.config_has = has;
  api.config_bool = get_bool;
  api.config_int = get_int;
  api.config_float = get_float;
  api.config_string = get_string;
  api.config_list_size = list_size;
  api.config_list_int = list_int;
  api.config_list_float = list_float;
  api.config_list_string = list_string;
}

}  // namespace nemo::config

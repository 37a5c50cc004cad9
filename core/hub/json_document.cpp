#include "core/hub/json_document.hpp"

#include <charconv>
#include <cmath>
#include <utility>

#include "core/base/error.hpp"
#include "core/plugin/error.hpp"

namespace nemo::hub {
namespace {

using plugin::guard;

std::string_view view(nemo_str s) { return {s.ptr, s.len}; }
const JsonDocument& doc(const nemo_json* d) { return JsonDocument::of(d); }
JsonDocument& doc(nemo_json* d) { return JsonDocument::of(d); }

// "a.b" -> {"a", "b"}; without a dot the second is empty.
std::pair<std::string_view, std::string_view> split(std::string_view path) {
  const size_t dot = path.find('.');
  return dot == std::string_view::npos ? std::pair(path, std::string_view()) : std::pair(path.substr(0, dot), path.substr(dot + 1));
}

// Index of an array element; the size of the array where `key` is none.
size_t index_of(const Json& array, std::string_view key) {
  size_t i = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), i);
  return error == std::errc() && end == key.data() + key.size() && i < array.size() ? i : array.size();
}

const Json* child(const Json& parent, std::string_view key) {
  if (parent.is_array()) {
    const size_t i = index_of(parent, key);
    return i < parent.size() ? &parent[i] : nullptr;
  }
  if (!parent.is_object()) return nullptr;
  const auto it = parent.find(std::string(key));
  return it == parent.end() ? nullptr : &*it;
}

nemo_json_type type_of(const Json& value) {
  double ignored = 0;
  if (value.is_null()) return NEMO_JSON_NULL;
  if (value.is_boolean()) return NEMO_JSON_BOOL;
  if (value.is_number_integer()) return NEMO_JSON_INT;
  if (to_double(value, ignored)) return NEMO_JSON_FLOAT;
  if (value.is_string()) return NEMO_JSON_STRING;
  return value.is_array() ? NEMO_JSON_ARRAY : NEMO_JSON_OBJECT;
}

[[noreturn]] void wrong(const JsonDocument& d, nemo_str path, const char* wanted) {
  throw Error(Code::kConfig, d.where() + ": " + std::string(view(path)) + " = " + d.at(view(path), wanted).dump() + ", expected " + wanted);
}

int64_t integer(const JsonDocument& d, nemo_str path) {
  const Json& v = d.at(view(path), "an integer");
  double number = 0;
  if (v.is_number_unsigned() && v.get<uint64_t>() > uint64_t{INT64_MAX}) wrong(d, path, "an integer of 64 bits");
  if (v.is_number_integer()) return v.get<int64_t>();
  if (!to_double(v, number) || number != std::nearbyint(number) || std::abs(number) > 9e15) wrong(d, path, "an integer");
  return static_cast<int64_t>(number);
}

double real(const JsonDocument& d, nemo_str path) {
  double number = 0;
  if (!to_double(d.at(view(path), "a number"), number)) wrong(d, path, "a number");
  return number;
}

uint8_t boolean(const JsonDocument& d, nemo_str path) {
  const Json& v = d.at(view(path), "true or false");
  if (!v.is_boolean()) wrong(d, path, "true or false");
  return v.get<bool>() ? 1 : 0;
}

nemo_str string(const JsonDocument& d, nemo_str path) {
  const Json& v = d.at(view(path), "a string");
  if (!v.is_string()) wrong(d, path, "a string");
  const std::string& s = v.get_ref<const std::string&>();
  return {s.data(), s.size()};
}

uint64_t size(const JsonDocument& d, nemo_str path) {
  const Json& v = d.at(view(path), "an array or an object");
  if (!v.is_structured()) wrong(d, path, "an array or an object");
  return v.size();
}

// A number that is there already keeps its spelling: 11 does not become 11.0, which transformers refuses for an integer.
void set_number(JsonDocument& d, nemo_str path, Json value) {
  double now = 0, wanted = 0;
  const Json* found = d.find(view(path));
  if (found != nullptr && to_double(*found, now) && to_double(value, wanted) && now == wanted) return;
  d.set(view(path), std::move(value));
}

// Its elements are set one by one, those of an array that is there already as set_number says.
void set_array(JsonDocument& d, nemo_str path, uint64_t n) {
  const Json* found = d.find(view(path));
  if (found == nullptr || !found->is_array() || found->size() != n) d.set(view(path), Json(Json::array_t(n)));
}

const nemo_json_api kApi = {
    sizeof(nemo_json_api),
    0,
    [](const nemo_json* d, nemo_str path) -> nemo_json_type {
      const Json* found = doc(d).find(view(path));
      return found == nullptr ? NEMO_JSON_ABSENT : type_of(*found);
    },
    [](const nemo_json* d, nemo_str path, uint8_t* out) { return guard([&] { *out = boolean(doc(d), path); }); },
    [](const nemo_json* d, nemo_str path, int64_t* out) { return guard([&] { *out = integer(doc(d), path); }); },
    [](const nemo_json* d, nemo_str path, double* out) { return guard([&] { *out = real(doc(d), path); }); },
    [](const nemo_json* d, nemo_str path, nemo_str* out) { return guard([&] { *out = string(doc(d), path); }); },
    [](const nemo_json* d, nemo_str path, uint64_t* out) { return guard([&] { *out = size(doc(d), path); }); },
    [](nemo_json* d, nemo_str path) { return guard([&] { doc(d).set(view(path), nullptr); }); },
    [](nemo_json* d, nemo_str path, uint8_t v) { return guard([&] { doc(d).set(view(path), v != 0); }); },
    [](nemo_json* d, nemo_str path, int64_t v) { return guard([&] { set_number(doc(d), path, v); }); },
    [](nemo_json* d, nemo_str path, double v) { return guard([&] { set_number(doc(d), path, from_double(v)); }); },
    [](nemo_json* d, nemo_str path, nemo_str v) { return guard([&] { doc(d).set(view(path), std::string(view(v))); }); },
    [](nemo_json* d, nemo_str path, uint64_t n) { return guard([&] { set_array(doc(d), path, n); }); },
    [](nemo_json* d, nemo_str path) { return guard([&] { doc(d).erase(view(path)); }); },
};

}  // namespace

const Json* JsonDocument::find(std::string_view path) const {
  read_.emplace(split(path).first);
  const Json* at = &root_;
  for (std::string_view rest = path; at != nullptr && !rest.empty();) {
    const auto [key, tail] = split(rest);
    at = child(*at, key);
    rest = tail;
  }
  return at;
}

const Json& JsonDocument::at(std::string_view path, const char* wanted) const {
  if (const Json* found = find(path)) return *found;
  throw Error(Code::kConfig, where_ + ": '" + std::string(path) + "' is missing (expected " + wanted + ")");
}

void JsonDocument::set(std::string_view path, Json value) {
  Json* at = &root_;
  for (std::string_view rest = path; !rest.empty();) {
    const auto [key, tail] = split(rest);
    if (at->is_array()) {
      const size_t i = index_of(*at, key);
      if (i == at->size()) throw Error(Code::kInvalidArgument, where_ + ": there is no element '" + std::string(path) + "'");
      at = &(*at)[i];
    } else {
      if (!at->is_object()) *at = Json::object();
      at = &(*at)[std::string(key)];
    }
    rest = tail;
  }
  *at = std::move(value);
}

void JsonDocument::erase(std::string_view path) {
  const size_t dot = path.rfind('.');
  const Json* parent = dot == std::string_view::npos ? &root_ : find(path.substr(0, dot));
  if (parent != nullptr && parent->is_object())
    const_cast<Json*>(parent)->erase(std::string(dot == std::string_view::npos ? path : path.substr(dot + 1)));
}

std::vector<std::string> JsonDocument::unread() const {
  std::vector<std::string> out;
  for (const auto& [key, value] : root_.items())
    if (!read_.contains(key)) out.push_back(key);
  return out;
}

const nemo_json_api& json_api() { return kApi; }

}  // namespace nemo::hub

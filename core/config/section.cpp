#include "core/config/section.hpp"

#include <algorithm>

namespace nemo::config {
namespace {

[[noreturn]] void misuse(const std::string& message) { throw Error(Code::kInvalidArgument, message); }

}  // namespace

const Setting* Section::find(std::string_view path) const {
  const auto found = index_.find(path);
  return found == index_.end() ? nullptr : &settings_[found->second];
}

const Setting& Section::at(std::string_view path) const {
  const Setting* setting = find(path);
  if (setting == nullptr) misuse("no schema of [" + name_ + "] has the setting \"" + std::string(path) + "\"");
  return *setting;
}

bool Section::has(std::string_view path) const {
  const Setting& setting = at(path);
  if (setting.field.type != NEMO_FIELD_TABLE) return setting.value.has_value();
  return std::any_of(settings_.begin(), settings_.end(), [&](const Setting& s) { return is_below(s.field.path, path); });
}

template <class T>
const T& Section::get(std::string_view path, const char* asked) const {
  const Setting& setting = at(path);
  const std::string full = name_ + "." + std::string(path);
  if (!setting.value && setting.field.type != NEMO_FIELD_TABLE) misuse(full + " is not set; ask whether it is before reading it");
  const T* value = setting.value ? setting.value->as<T>() : nullptr;
  if (value == nullptr) misuse(full + " is of type " + type_name(setting.field) + " and was read as " + asked);
  return *value;
}

template <class T>
std::vector<T> Section::get_all(std::string_view path, const char* asked) const {
  std::vector<T> out;
  for (const Value& element : get<List>(path, asked)) {
    const T* typed = element.as<T>();
    if (typed == nullptr)
      misuse(name_ + "." + std::string(path) + " is of type " + type_name(at(path).field) + " and was read as " + asked);
    out.push_back(*typed);
  }
  return out;
}

bool Section::get_bool(std::string_view path) const { return get<bool>(path, "bool"); }
int64_t Section::get_int(std::string_view path) const { return get<int64_t>(path, "int"); }
double Section::get_float(std::string_view path) const { return get<double>(path, "float"); }
const std::string& Section::get_string(std::string_view path) const { return get<std::string>(path, "string"); }
const List& Section::get_list(std::string_view path) const { return get<List>(path, "list"); }
std::vector<int64_t> Section::get_ints(std::string_view path) const { return get_all<int64_t>(path, "list of int"); }
std::vector<double> Section::get_floats(std::string_view path) const { return get_all<double>(path, "list of float"); }
std::vector<std::string> Section::get_strings(std::string_view path) const { return get_all<std::string>(path, "list of string"); }

std::vector<std::string> Section::get_keys(std::string_view path) const {
  if (at(path).field.type != NEMO_FIELD_TABLE) misuse(name_ + "." + std::string(path) + " is not a table");
  std::vector<std::string> keys;
  for (const Setting& setting : settings_)
    if (is_below(setting.field.path, path)) keys.push_back(setting.field.path.substr(path.size() + 1));
  return keys;
}

const Origin& Section::origin(std::string_view path) const { return at(path).origin; }

void Section::set(std::string_view path, const Value& value, Origin origin) {
  auto& setting = const_cast<Setting&>(at(path));
  const std::string full = name_ + "." + std::string(path);
  if (setting.field.type == NEMO_FIELD_TABLE) misuse(full + " is a table; its keys come from the recipe");
  Value taken;
  if (const auto fault = convert(setting.field, value, &taken)) misuse(full + " cannot be set: " + *fault);
  setting.value = std::move(taken);
  setting.origin = std::move(origin);
}

void Section::add(Setting setting) {
  index_.emplace(setting.field.path, settings_.size());
  settings_.push_back(std::move(setting));
}

const Section& Configuration::section(std::string_view name) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(), [&](const Section& s) { return s.name() == name; });
  if (found == sections_.end()) misuse("there is no section [" + std::string(name) + "]");
  return *found;
}

Section& Configuration::section(std::string_view name) { return const_cast<Section&>(std::as_const(*this).section(name)); }

bool Configuration::has(std::string_view name) const {
  return std::any_of(sections_.begin(), sections_.end(), [&](const Section& s) { return s.name() == name; });
}

Error fault_at(const Section& section, std::string_view path, const std::string& message) {
  const std::string full = section.name() + "." + std::string(path);
  const Origin origin = section.knows(path) ? section.origin(path) : Origin{};
  if (origin.kind == Origin::Kind::kDefault) return {Code::kConfig, section.recipe() + ": " + full + ": " + message};
  return {Code::kConfig, location(origin, full) + ": " + message};
}

}  // namespace nemo::config

#include "core/config/resolver.hpp"

#include <algorithm>
#include <tuple>

#include "core/config/path.hpp"
#include "core/config/sections.hpp"

namespace nemo::config {
namespace {

constexpr auto kCommandLine = Origin::Kind::kCommandLine;

std::string place(const Origin& origin, const std::string& path, const Field& field) {
  if (origin.kind == kCommandLine && field.is(NEMO_FIELD_SECRET)) return "command line: " + path + "=(hidden)";
  return location(origin, path);
}

// What the schema wants where the recipe has a table.
std::string wanted(const Field& field) {
  Value ignored;
  const auto fault = convert(field, {Foreign{"a table"}}, &ignored);
  return *fault;
}

// An override is not quoted by its shell: job.name=2024 means the text.
Value as_written(const Field& field, const std::string& path, const Entry& entry) {
  const bool text_wanted = field.type == NEMO_FIELD_STRING || field.type == NEMO_FIELD_PATH || field.type == NEMO_FIELD_ENUM;
  const bool scalar = entry.value.as<bool>() || entry.value.as<int64_t>() || entry.value.as<double>();
  if (entry.origin.kind != kCommandLine || !text_wanted || !scalar || !entry.origin.file.starts_with(path + "=")) return entry.value;
  return {entry.origin.file.substr(path.size() + 1)};
}

std::string how_to_set(const std::string& section, const Field& field) {
  const bool text = field.scalar_type() >= NEMO_FIELD_STRING && field.scalar_type() <= NEMO_FIELD_ENUM;
  const std::string scalar = text ? "\"...\"" : "...";
  const std::string value = field.type == NEMO_FIELD_LIST ? "[" + scalar + "]" : field.type == NEMO_FIELD_TABLE ? "{...}" : scalar;
  return "add `" + field.path + " = " + value + "` under [" + section + "], or give " + section + "." + field.path +
         "=... on the command line";
}

nemo_field_type type_of(const Value& value) {
  if (value.as<bool>()) return NEMO_FIELD_BOOL;
  if (value.as<int64_t>()) return NEMO_FIELD_INT;
  return value.as<double>() ? NEMO_FIELD_FLOAT : NEMO_FIELD_STRING;
}

}  // namespace

void Resolver::add(const std::string& name, const std::string& owner, const nemo_schema* schema) {
  auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) { return p.name == name; });
  if (part == parts_.end()) part = parts_.insert(parts_.end(), {name, {}, {}});
  part->owners.push_back(owner);
  if (schema == nullptr) return;
  for (Field& field : read_schema(*schema, owner)) {
    const auto twice = [&](const Field& f) { return f.path == field.path; };
    if (std::any_of(part->fields.begin(), part->fields.end(), twice))
      throw Error(Code::kInvalidArgument, "schema of " + owner + ": [" + name + "] has the setting " + field.path + " already; rename it");
    part->fields.push_back(std::move(field));
  }
}

Configuration Resolver::resolve() const {
  Configuration configuration;
  Faults faults;
  for (const Part& part : parts_) configuration.add(resolve_part(part, faults));
  find_unknown(faults);
  if (!faults.empty()) throw to_error(std::move(faults));
  return configuration;
}

Section Resolver::resolve_part(const Part& part, Faults& faults) const {
  Section section(part.name, document_.recipe());
  for (const Field& field : part.fields) {
    section.add(resolve_field(part, field, faults));
    if (field.type == NEMO_FIELD_TABLE) resolve_table(part, field, section, faults);
  }
  return section;
}

Setting Resolver::resolve_field(const Part& part, const Field& field, Faults& faults) const {
  const std::string path = part.name + "." + field.path;
  Setting setting{field, field.default_value, {}};
  const auto table = document_.tables().find(path);
  const bool is_table = table != document_.tables().end();
  if (const Entry* entry = document_.find(path)) {
    Value value;
    const bool table_wanted = field.type == NEMO_FIELD_TABLE;
    const auto fault =
        table_wanted ? "expected a table, found " + describe(entry->value) : convert(field, as_written(field, path, *entry), &value);
    if (fault)
      faults.push_back({entry->origin, place(entry->origin, path, field) + ": " + *fault});
    else
      setting = {field, take_paths(field, std::move(value), entry->origin), entry->origin};
  } else if (is_table && field.type != NEMO_FIELD_TABLE) {
    faults.push_back({table->second, place(table->second, path, field) + ": " + wanted(field)});
  } else if (field.is(NEMO_FIELD_REQUIRED) && !is_table) {
    faults.push_back(
        {{}, document_.recipe() + ": " + path + ": required, and not set (" + field.doc + "); " + how_to_set(part.name, field)});
  } else if (setting.value) {
    setting.value = take_paths(field, *std::move(setting.value), {});
  }
  return setting;
}

// A free-form table's keys become settings of their own, typed by their values.
void Resolver::resolve_table(const Part& part, const Field& field, Section& section, Faults& faults) const {
  const std::string path = part.name + "." + field.path;
  for (const auto& [key, entry] : document_.entries()) {
    if (!is_below(key, path)) continue;
    if (entry.value.as<List>() || entry.value.as<Foreign>()) {
      faults.push_back(
          {entry.origin, place(entry.origin, key, field) + ": expected a boolean, number or string, found " + describe(entry.value)});
      continue;
    }
    Field child;
    child.path = key.substr(part.name.size() + 1);
    child.type = type_of(entry.value);
    child.flags = field.flags & (NEMO_FIELD_SECRET | NEMO_FIELD_CHANGES_CHECKPOINT);
    section.add({child, entry.value, entry.origin});
  }
}

Value Resolver::take_paths(const Field& field, Value value, const Origin& origin) const {
  if (field.scalar_type() != NEMO_FIELD_PATH) return value;
  const std::filesystem::path recipe_folder = std::filesystem::path(document_.recipe()).parent_path();
  std::vector<std::filesystem::path> folders;
  if (origin.kind == kCommandLine)
    folders = {"", recipe_folder};
  else if (origin.kind != Origin::Kind::kDefault)
    folders = {std::filesystem::path(origin.file).parent_path()};
  if (const auto* text = value.as<std::string>()) return {resolve_path(*text, folders)};
  List list;
  for (const Value& element : *value.as<List>()) list.push_back({resolve_path(*element.as<std::string>(), folders)});
  return {std::move(list)};
}

Error Resolver::to_error(Faults faults) {
  const auto rank = [](const Origin& o) { return o.kind == Origin::Kind::kDefault ? 9 : static_cast<int>(o.kind); };
  // Of the command line, the order of the sections is kept: its line and column are 0, and an override's text says nothing of place.
  const auto file = [](const Origin& o) { return o.kind == kCommandLine ? std::string() : o.file; };
  std::stable_sort(faults.begin(), faults.end(), [&](const Fault& a, const Fault& b) {
    return std::tuple(rank(a.origin), file(a.origin), a.origin.line, a.origin.column) <
           std::tuple(rank(b.origin), file(b.origin), b.origin.line, b.origin.column);
  });
  std::string message;
  for (const Fault& fault : faults) message += (message.empty() ? "" : "\n") + fault.text;
  return {Code::kConfig, message};
}

Section core_section(const Document& document, const std::string& name) {
  Resolver resolver(document);
  resolver.add(name, "core", core_schema(name));
  Resolver::Faults faults;
  Section section = resolver.resolve_part(resolver.parts_.front(), faults);
  if (!faults.empty()) throw Resolver::to_error(std::move(faults));
  return section;
}

}  // namespace nemo::config

#include "core/config/schema.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/error.hpp"
#include "core/config/toml_reader.hpp"

namespace nemo::config {
namespace {

std::string to_text(nemo_str s) { return s.len == 0 ? std::string() : std::string(s.ptr, s.len); }

const char* scalar_name(nemo_field_type type) {
  switch (type) {
    case NEMO_FIELD_BOOL:
      return "bool";
    case NEMO_FIELD_INT:
      return "int";
    case NEMO_FIELD_FLOAT:
      return "float";
    case NEMO_FIELD_STRING:
      return "string";
    case NEMO_FIELD_PATH:
      return "path";
    case NEMO_FIELD_ENUM:
      return "enum";
    default:
      return nullptr;
  }
}

// A longer struct is fine as long as what this host does not know is unset.
template <class T>
void check_tail(const T& object, const std::string& what) {
  const auto* bytes = reinterpret_cast<const char*>(&object);
  if (object.struct_size > sizeof(T) && std::any_of(bytes + sizeof(T), bytes + object.struct_size, [](char c) { return c != 0; }))
    throw Error(Code::kUnsupported, what + " sets something that this host does not know; a newer host is needed");
}

std::string number_text(double v) {
  const bool whole = std::abs(v) < 1e15 && v == std::nearbyint(v);
  return whole ? std::to_string(static_cast<int64_t>(v)) : to_literal({v});
}

void read_default(Field& field, const std::string& what) {
  if (field.default_text.empty()) return;
  const auto tree = try_read_toml("x = " + field.default_text);
  if (field.type == NEMO_FIELD_TABLE) {
    if (!tree || field.default_text.find_first_not_of("{} ") != std::string::npos)
      throw Error(Code::kInternal, what + ": the default of a table is {} or nothing, not `" + field.default_text + "`");
    return;
  }
  if (!tree || tree->leaves.size() != 1)
    throw Error(Code::kInternal, what + ": the default `" + field.default_text + "` is not a TOML value");
  Value value;
  if (const auto fault = convert(field, tree->leaves[0].value, &value))
    throw Error(Code::kInternal, what + ": the default `" + field.default_text + "` does not fit: " + *fault);
  field.default_value = std::move(value);
}

void check_types(const Field& field, const std::string& what) {
  const bool known = scalar_name(field.type) || field.type == NEMO_FIELD_LIST || field.type == NEMO_FIELD_TABLE;
  if (!known) throw Error(Code::kUnsupported, what + " has the type " + std::to_string(field.type) + ", which this host does not know");
  if (field.type == NEMO_FIELD_LIST && !scalar_name(field.element_type))
    throw Error(Code::kUnsupported, what + " is a list of type " + std::to_string(field.element_type) + ", which this host does not know");
  if (field.scalar_type() == NEMO_FIELD_ENUM && field.choices.empty()) throw Error(Code::kInternal, what + " is an enum without choices");
}

Field read_field(const nemo_field& raw, const std::string& owner, uint64_t index) {
  const std::string place = "schema of " + owner + ": field " + std::to_string(index);
  if (!NEMO_HAS(&raw, default_value) || raw.path.len == 0) throw Error(Code::kInternal, place + " has no path");
  Field field;
  field.path = to_text(raw.path);
  const std::string what = "schema of " + owner + ": field " + field.path;
  check_tail(raw, what);
  field.type = raw.type;
  field.element_type = raw.type == NEMO_FIELD_LIST ? raw.element_type : 0;
  field.flags = raw.flags;
  field.default_text = to_text(raw.default_value);
  if (NEMO_HAS(&raw, min)) field.min = raw.min;
  if (NEMO_HAS(&raw, max)) field.max = raw.max;
  if (NEMO_HAS(&raw, n_choices))
    for (uint64_t i = 0; i < raw.n_choices; ++i) field.choices.emplace_back(to_text(raw.choices[i].value), to_text(raw.choices[i].doc));
  if (NEMO_HAS(&raw, unit)) field.unit = to_text(raw.unit);
  if (NEMO_HAS(&raw, doc)) field.doc = to_text(raw.doc);
  check_types(field, what);
  read_default(field, what);
  return field;
}

}  // namespace

std::vector<Field> read_schema(const nemo_schema& schema, const std::string& owner) {
  const std::string what = "schema of " + owner;
  if (!NEMO_HAS(&schema, field_stride)) throw Error(Code::kInternal, what + " is shorter than its first version");
  check_tail(schema, what);
  if (schema.n_fields > 0 && schema.field_stride < offsetof(nemo_field, min))
    throw Error(Code::kInternal, what + " has a field_stride of " + std::to_string(schema.field_stride) + " bytes, too short for a field");
  std::vector<Field> fields;
  for (uint64_t i = 0; i < schema.n_fields; ++i) {
    const auto* raw = reinterpret_cast<const nemo_field*>(reinterpret_cast<const char*>(schema.fields) + i * schema.field_stride);
    if (raw->struct_size > schema.field_stride)
      throw Error(Code::kInternal, what + ": field " + std::to_string(i) + " is longer than the field_stride");
    Field field = read_field(*raw, owner, i);
    if (std::any_of(fields.begin(), fields.end(), [&](const Field& other) { return other.path == field.path; }))
      throw Error(Code::kInternal, what + " has the field " + field.path + " twice");
    fields.push_back(std::move(field));
  }
  return fields;
}

std::string type_name(const Field& field) {
  if (field.type == NEMO_FIELD_TABLE) return "table";
  return (field.type == NEMO_FIELD_LIST ? "list of " : "") + std::string(scalar_name(field.scalar_type()));
}

std::string range_text(const Field& field) {
  const bool low = field.is(NEMO_FIELD_HAS_MIN), high = field.is(NEMO_FIELD_HAS_MAX);
  std::string text;
  if (low && high)
    text = "between " + number_text(field.min) + " and " + number_text(field.max);
  else if (low)
    text = "at least " + number_text(field.min);
  else if (high)
    text = "at most " + number_text(field.max);
  return text.empty() || field.unit.empty() ? text : text + " " + field.unit;
}

}  // namespace nemo::config

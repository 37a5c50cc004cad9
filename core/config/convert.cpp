#include <cmath>

#include "core/base/nearest.hpp"
#include "core/config/schema.hpp"

namespace nemo::config {
namespace {

using Fault = std::optional<std::string>;

const char* noun(nemo_field_type type) {
  switch (type) {
    case NEMO_FIELD_BOOL:
      return "true or false";
    case NEMO_FIELD_INT:
      return "an integer";
    case NEMO_FIELD_FLOAT:
      return "a number";
    case NEMO_FIELD_PATH:
      return "a path (string)";
    default:
      return "a string";
  }
}

const char* plural(nemo_field_type type) {
  switch (type) {
    case NEMO_FIELD_BOOL:
      return "booleans";
    case NEMO_FIELD_INT:
      return "integers";
    case NEMO_FIELD_FLOAT:
      return "numbers";
    case NEMO_FIELD_PATH:
      return "paths (strings)";
    default:
      return "strings";
  }
}

std::string shown(const Field& field, const Value& value) {
  return field.is(NEMO_FIELD_SECRET) ? "another type (value hidden)" : describe(value);
}

Fault check_range(const Field& field, double v, const Value& value) {
  const bool low = field.is(NEMO_FIELD_HAS_MIN) && !(v >= field.min);
  const bool high = field.is(NEMO_FIELD_HAS_MAX) && !(v <= field.max);
  if (!low && !high) return {};
  return (field.is(NEMO_FIELD_SECRET) ? "value" : to_literal(value)) + " is out of range; expected " + range_text(field);
}

Fault check_choice(const Field& field, const std::string& text) {
  std::vector<std::string> names;
  std::string listed;
  for (const auto& [name, doc] : field.choices) {
    if (name == text) return {};
    names.push_back(name);
    listed += (listed.empty() ? "" : ", ") + name;
  }
  const std::string close = nearest_name(text, names);
  return to_literal({text}) + " is not one of " + listed + (close.empty() ? "" : "; did you mean \"" + close + "\"?");
}

// "1e6" for a count is a habit worth a hint.
std::string integer_hint(const Value& value) {
  const auto* number = value.as<double>();
  if (number == nullptr || std::nearbyint(*number) != *number || std::abs(*number) > 1e15) return "";
  return "; write " + std::to_string(static_cast<int64_t>(*number));
}

Fault wrong_type(const Field& field, const Value& value) {
  const std::string hint = field.type == NEMO_FIELD_INT && !field.is(NEMO_FIELD_SECRET) ? integer_hint(value) : "";
  return std::string("expected ") + noun(field.type) + ", found " + shown(field, value) + hint;
}

bool has_type(nemo_field_type type, const Value& value) {
  switch (type) {
    case NEMO_FIELD_BOOL:
      return value.as<bool>() != nullptr;
    case NEMO_FIELD_INT:
      return value.as<int64_t>() != nullptr;
    case NEMO_FIELD_FLOAT:
      return value.as<double>() != nullptr || value.as<int64_t>() != nullptr;
    default:
      return value.as<std::string>() != nullptr;
  }
}

// `value` already has_type.
Fault convert_scalar(const Field& field, const Value& value, Value* out) {
  Value taken = value;
  const nemo_field_type type = field.scalar_type();
  if (const auto* integer = value.as<int64_t>(); integer && type == NEMO_FIELD_FLOAT) taken = {static_cast<double>(*integer)};
  Fault fault;
  if (const auto* integer = taken.as<int64_t>()) fault = check_range(field, static_cast<double>(*integer), value);
  if (const auto* number = taken.as<double>()) fault = check_range(field, *number, value);
  if (const auto* text = taken.as<std::string>(); text && !field.choices.empty()) fault = check_choice(field, *text);
  if (!fault) *out = std::move(taken);
  return fault;
}

Fault convert_list(const Field& field, const Value& value, Value* out) {
  List taken;
  const List single{value};
  const List& given = value.as<List>() ? *value.as<List>() : single;
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string at = value.as<List>() ? "element " + std::to_string(i + 1) : "";
    if (!has_type(field.element_type, given[i]))
      return std::string("expected a list of ") + plural(field.element_type) + ", found " + (at.empty() ? "" : "as " + at + " ") +
             shown(field, given[i]);
    if (const Fault fault = convert_scalar(field, given[i], &taken.emplace_back())) return (at.empty() ? "" : at + ": ") + *fault;
  }
  *out = {std::move(taken)};
  return {};
}

}  // namespace

Fault convert(const Field& field, const Value& value, Value* out) {
  if (field.type == NEMO_FIELD_LIST) return convert_list(field, value, out);
  if (!has_type(field.type, value)) return wrong_type(field, value);
  return convert_scalar(field, value, out);
}

}  // namespace nemo::config

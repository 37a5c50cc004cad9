// core/config/schema.hpp - a nemo_schema, read with all care that the ABI asks for, as C++ values.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/config/value.hpp"
#include "nemo/config.h"

namespace nemo::config {

struct Field {
  std::string path;
  nemo_field_type type = 0;
  nemo_field_type element_type = 0;  // of a list, else 0
  uint32_t flags = 0;
  double min = 0;  // meaningful with NEMO_FIELD_HAS_MIN
  double max = 0;
  std::string default_text;  // as the schema writes it
  std::optional<Value> default_value;
  std::vector<std::pair<std::string, std::string>> choices;  // value, doc
  std::string unit;
  std::string doc;

  [[nodiscard]] bool is(uint32_t flag) const { return (flags & flag) != 0; }
  // The type of a scalar, or of a list's elements.
  [[nodiscard]] nemo_field_type scalar_type() const { return type == NEMO_FIELD_LIST ? element_type : type; }
};

// `owner` names the schema in errors ("llama"). Fields are taken by stride; of each, only what its struct_size covers.
// Throws Error(kUnsupported) for a type that this host does not know or a struct with an unknown, non-zero tail, and Error(kInternal) for a
// schema that is wrong in itself: no path, a path twice, a default that is not TOML, not of the type, or out of range.
[[nodiscard]] std::vector<Field> read_schema(const nemo_schema& schema, const std::string& owner);

// "bool", "int", "float", "string", "path", "enum", "list of int", "table".
[[nodiscard]] std::string type_name(const Field& field);
// "at least 1", "between 0 and 1", "at most 8", with the unit; "" where unbounded.
[[nodiscard]] std::string range_text(const Field& field);

// `value` as a value of the field: integers become floats where floats are wanted, a scalar becomes a list of one.
// On a fault returns the message ("expected an integer, found the string \"abc\"") and leaves *out alone.
// Values of SECRET fields do not appear in the message.
[[nodiscard]] std::optional<std::string> convert(const Field& field, const Value& value, Value* out);

}  // namespace nemo::config

// Defaults of a plugin's settings that are numbers or booleans, by name: what the tests' hosts answer, so that a setting which is new in
// a plugin's schema is known to them at once.
#pragma once

#include <cstdlib>
#include <map>
#include <string>

#include "nemo/nemo.h"

namespace nemo::backend_cuda {

inline std::map<std::string, double> setting_defaults(const nemo_schema& schema) {
  std::map<std::string, double> defaults;
  for (uint64_t i = 0; i < schema.n_fields; ++i) {
    const auto& field = *reinterpret_cast<const nemo_field*>(reinterpret_cast<const char*>(schema.fields) + i * schema.field_stride);
    const std::string value(field.default_value.ptr, field.default_value.len);
    if (field.type == NEMO_FIELD_BOOL) defaults[std::string(field.path.ptr, field.path.len)] = value == "true";
    if (field.type == NEMO_FIELD_INT || field.type == NEMO_FIELD_FLOAT)
      defaults[std::string(field.path.ptr, field.path.len)] = std::strtod(value.c_str(), nullptr);
  }
  return defaults;
}

}  // namespace nemo::backend_cuda

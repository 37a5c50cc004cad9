// tests/models/fake_host.hpp - the smallest host that a model plugin can live in: errors, and settings in JSON over the defaults.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "nemo/nemo.h"

namespace nemo::models_test {

// What a plugin reported.
struct Fault : std::runtime_error {
  Fault(nemo_code c, const std::string& message, std::map<std::string, std::string> f)
      : std::runtime_error(message), code(c), facts(std::move(f)) {}
  nemo_code code;
  std::map<std::string, std::string> facts;
};

[[nodiscard]] const nemo_host_api* host_api();
[[nodiscard]] nemo_error* new_error(nemo_code code, const std::string& message);
void rethrow(nemo_error* error);  // throws Fault; NULL is legal

// Settings by dotted path. Throws std::runtime_error on a key that the schema does not have, and on a required field that is missing.
class Settings {
 public:
  Settings(const nemo_schema& schema, const nlohmann::json& values);
  [[nodiscard]] const nemo_config* get() const { return reinterpret_cast<const nemo_config*>(this); }
  std::map<std::string, nlohmann::json> values;
};

}  // namespace nemo::models_test

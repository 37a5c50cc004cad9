// core/plugin/record.hpp - the text of section `.nemo_plugin` (sdk/include/nemo/plugin.h, NEMO_RECORD).
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "nemo/nemo.h"

namespace nemo::plugin {

struct ComponentName {
  nemo_kind kind = 0;
  std::string id;
  auto operator<=>(const ComponentName&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14 trips over <=>
};

// "model:llama"
[[nodiscard]] std::string to_string(const ComponentName& name);

struct Record {
  int abi_major = 0;
  int abi_minor = 0;
  uint32_t sdk_build = 0;
  bool draft = false;
  std::vector<ComponentName> components;
};

// Throws nemo::Error(kDataLoss) "malformed .nemo_plugin record: ..." for bytes that are no record. Zero bytes behind the end are padding.
// The component list is read only where abi_major is this host's; another major may write it differently.
[[nodiscard]] Record parse_record(std::string_view bytes);

}  // namespace nemo::plugin

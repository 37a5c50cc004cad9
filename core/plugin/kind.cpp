#include "core/plugin/kind.hpp"

#include <array>

namespace nemo::plugin {
namespace {

constexpr std::array<std::string_view, 7> kNames = {"model", "strategy", "data", "precision", "peft", "logger", "backend"};
constexpr std::array<nemo_kind, 7> kKinds = {NEMO_KIND_MODEL, NEMO_KIND_STRATEGY, NEMO_KIND_DATA,   NEMO_KIND_PRECISION,
                                             NEMO_KIND_PEFT,  NEMO_KIND_LOGGER,   NEMO_KIND_BACKEND};

}  // namespace

std::string_view kind_name(nemo_kind kind) {
  for (size_t i = 0; i < kKinds.size(); ++i)
    if (kKinds[i] == kind) return kNames[i];
  return "unknown";
}

nemo_kind kind_from_name(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return kKinds[i];
  return 0;
}

std::span<const nemo_kind> all_kinds() { return kKinds; }

}  // namespace nemo::plugin

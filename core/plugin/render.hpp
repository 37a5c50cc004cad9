// core/plugin/render.hpp - listings and components as text and as JSON, for `nemo-host plugins list|inspect`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/plugin/registry.hpp"

namespace nemo::plugin {

// A table KIND, ID, SDK, LIBRARY, STATE with a row per component or refused file, then the directories. State is "ok", "shadowed by FILE"
// (a directory earlier in the order has it), "ambiguous with FILE" (the same directory has it twice) or "refused: REASON". Versions are
// not in it: they are known only to loaded libraries.
[[nodiscard]] std::string render_list(const Listing& listing);
// {"directories": [{path, origin, state, reason}], "plugins": [{kind, id, sdk, sdk_build, draft, library, state, reason}]}; kind and id are
// null for a refused file without a readable record; state is "ok", "shadowed", "ambiguous" or "refused".
[[nodiscard]] nlohmann::ordered_json list_json(const Listing& listing);

// Facts of one loaded component: kind, id, version, doc, library, its SHA-256. The schema is core/config's to describe.
[[nodiscard]] std::string render_component(const Component& component);
[[nodiscard]] nlohmann::ordered_json component_json(const Component& component);

}  // namespace nemo::plugin

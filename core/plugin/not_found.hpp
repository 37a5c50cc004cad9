// core/plugin/not_found.hpp - the message for a component that no library offers.
#pragma once

#include <string>

#include "core/plugin/registry.hpp"

namespace nemo::plugin {

// Several lines: what is missing, the nearest known id of the kind or all of them, each directory and what became of it, each refused file
// and why.
[[nodiscard]] std::string not_found_message(const ComponentName& name, const Listing& listing);

}  // namespace nemo::plugin

// core/base/nearest.hpp - the nearest known name, for error messages.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace nemo {

// The candidate with the smallest edit distance to `name`, or "" if none is within a third of its length (at least 2).
[[nodiscard]] std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

}  // namespace nemo

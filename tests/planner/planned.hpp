// tests/planner/planned.hpp - plans of shipped recipes, as nemo-host plan makes them.
#pragma once

#include <string>
#include <vector>

#include "core/planner/planner.hpp"

namespace nemo::planner_test {

[[nodiscard]] const planner::Hardware& hardware(const std::string& name = "h100");

// `settings`: overrides separated by spaces.
[[nodiscard]] planner::Report planned(const std::string& recipe, const std::string& settings, const planner::Hardware& on = hardware());

}  // namespace nemo::planner_test

// host/plan_json.hpp - a plan as JSON, for scripts.
#pragma once

#include <nlohmann/json.hpp>

#include "core/planner/planner.hpp"

namespace nemo::host {

// Seconds, bytes, counts; names as in planner::Report.
[[nodiscard]] nlohmann::ordered_json to_json(const planner::Report& report);

}  // namespace nemo::host

// host/plan_search.hpp - plan --search: layouts of a recipe, ranked.
#pragma once

#include <string>
#include <vector>

#include "core/planner/planner.hpp"
#include "host/program.hpp"

namespace nemo::host {

// The plan of a recipe with further settings; as `nemo-host plan` computes it.
[[nodiscard]] planner::Report plan_recipe(Program& program, const std::string& recipe, const std::vector<std::string>& overrides,
                                          const planner::Hardware& hardware, bool judge = true);

// Plans every combination of tensor, pipeline and context parallel size, virtual stages and recompute that the strategy takes and the model
// allows, and prints those that fit, fastest first, each with the settings that make it. Returns an exit code.
int search(Program& program, const std::string& recipe, const std::vector<std::string>& overrides, const planner::Hardware& hardware,
           bool json);

}  // namespace nemo::host

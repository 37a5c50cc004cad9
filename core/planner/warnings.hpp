// core/planner/warnings.hpp - what a user would want to know about a layout before paying for it. Internal to planner.
#pragma once

#include "core/planner/planner.hpp"

namespace nemo::planner {

// Appends to report.warnings and report.assumptions. Each warning names the numbers and what would change them.
void add_warnings(Report& report, const Request& request, const Hardware& hardware);

// Where gradients are rounded to 16 bits after each of many micro-batches, what that loses; "" elsewhere.
[[nodiscard]] std::string narrow_gradients(const passes::Precision& precision, int64_t micro_batches);

}  // namespace nemo::planner

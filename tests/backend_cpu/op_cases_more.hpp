#pragma once

#include "tests/backend_cpu/op_cases.hpp"

namespace nemo::backend_cpu {

// Appends the cases of mixtures of experts, state-space models and the extra inputs of attention.
void add_more_cases(std::vector<OpCase>& cases);

}  // namespace nemo::backend_cpu

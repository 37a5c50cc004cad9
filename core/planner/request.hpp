// core/planner/request.hpp - from a resolved recipe to what the planner needs.
#pragma once

#include "core/planner/planner.hpp"
#include "core/runtime/setup.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::planner {

// Borrows `setup`. The strategy plans for trainer.num_nodes x trainer.devices ranks. Throws nemo::Error(kConfig) for settings that do not
// fit together, with their place in the recipe.
[[nodiscard]] Request make_request(const runtime::Setup& setup, const text::Tokenizer* tokenizer);

}  // namespace nemo::planner

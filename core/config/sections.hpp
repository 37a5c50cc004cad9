// core/config/sections.hpp - the settings that the core itself has, by section of the recipe.
#pragma once

#include <span>
#include <string_view>

#include "nemo/config.h"

namespace nemo::config {

// The core's fields of `section` ("trainer"); static. NULL for a section that only a plugin fills ("backend", "log.ID").
[[nodiscard]] const nemo_schema* core_schema(std::string_view section);

// The sections that every recipe may have, in the order in which they are shown: job, model, data, tokenizer, strategy, precision, optim,
// trainer, peft, log, checkpoint, plugins, backend.
[[nodiscard]] std::span<const std::string_view> section_names();

}  // namespace nemo::config

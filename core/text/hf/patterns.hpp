// core/text/hf/patterns.hpp - {"String": ...} and {"Regex": ...} of a tokenizer.json.
#pragma once

#include "core/text/hf/fields.hpp"
#include "core/text/regex.hpp"

namespace nemo::text::hf {

[[nodiscard]] Regex read_pattern(const Field& field);

}  // namespace nemo::text::hf

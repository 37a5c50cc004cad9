// core/config/render.hpp - resolved settings and schemas as text.
#pragma once

#include <string>

#include "core/config/section.hpp"
#include "nemo/config.h"

namespace nemo::config {

// The resolved recipe: TOML that Document::parse and the same schemas turn into the same values. Unset and SECRET settings are left out.
[[nodiscard]] std::string to_toml(const Configuration& configuration);

// Aligned lines `setting | value | origin`, with a heading; a SECRET value is "(hidden)", unset settings are left out.
[[nodiscard]] std::string render_table(const Configuration& configuration);

// Help: for each field a line `name  type  default  range or unit  doc`, aligned, and below it a line `= "choice"  doc` for each choice.
// `owner` names the schema in errors.
[[nodiscard]] std::string describe(const nemo_schema& schema, const std::string& owner);

// A JSON array, one object for each field: path, type, required, secret, changes_checkpoint, doc; where the field has them default (as a
// JSON value), min, max, unit, choices [{value, doc}].
[[nodiscard]] std::string schema_to_json(const nemo_schema& schema, const std::string& owner);

}  // namespace nemo::config

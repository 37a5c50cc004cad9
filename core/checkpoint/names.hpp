// core/checkpoint/names.hpp - compares the parameters of a model with those of a checkpoint.
#pragma once

#include <span>
#include <string>

namespace nemo::checkpoint {

// "" if both hold the same names in any order. Else one message: how many are missing and extra, the first eight of each, and for each
// missing one the nearest name among the extra ones. `source` names the checkpoint.
[[nodiscard]] std::string name_mismatch(std::span<const std::string> model, std::span<const std::string> stored, const std::string& source);

}  // namespace nemo::checkpoint

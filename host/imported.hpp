// host/imported.hpp - what the files of the folder that a checkpoint was imported from say beside its weights.
#pragma once

#include <cstdint>
#include <filesystem>

namespace nemo::host {

// The token that the decoder of an encoder-decoder begins with; -1 where the files do not say, or there are none.
[[nodiscard]] int32_t imported_start(const std::filesystem::path& checkpoint);

}  // namespace nemo::host

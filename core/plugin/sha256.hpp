// core/plugin/sha256.hpp - SHA-256 (FIPS 180-4) of plugin files, so that ranks and checkpoints can tell them apart.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace nemo::plugin {

// 64 lower-case hex digits.
[[nodiscard]] std::string sha256(std::string_view bytes);
// Throws nemo::Error(kNotFound) if the file cannot be read.
[[nodiscard]] std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace nemo::plugin

// core/text/text_file.hpp - whole files as text, and places in them for messages.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace nemo::text {

// Throws Error(kNotFound) naming the file and the system's reason; `what` says what it is for ("vocabulary").
[[nodiscard]] std::string read_text_file(const std::filesystem::path& file, std::string_view what);

// "WHERE:LINE:COLUMN" of a byte offset, counted from 1.
[[nodiscard]] std::string place_in_text(std::string_view where, std::string_view text, size_t offset);

}  // namespace nemo::text

// core/text/base64.hpp - RFC 4648 base64.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nemo::text {

// The bytes; nothing where the text is not base64 (padding may be missing).
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace nemo::text

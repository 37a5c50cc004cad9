#include "host/imported.hpp"

#include <nlohmann/json.hpp>

#include "core/hub/import.hpp"
#include "core/text/text_file.hpp"

namespace nemo::host {

int32_t imported_start(const std::filesystem::path& checkpoint) {
  for (const char* name : {hub::kKeptGeneration, hub::kKeptConfig}) {
    if (!std::filesystem::exists(checkpoint / name)) continue;
    const auto config = nlohmann::json::parse(text::read_text_file(checkpoint / name, "generation settings"), nullptr, false);
    if (!config.is_object()) continue;
    if (const auto id = config.find("decoder_start_token_id"); id != config.end() && id->is_number_integer()) return id->get<int32_t>();
  }
  return -1;
}

}  // namespace nemo::host

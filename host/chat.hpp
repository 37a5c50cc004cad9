// host/chat.hpp - a conversation with a checkpoint: lines in, replies out.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>

#include "core/runtime/generate.hpp"

namespace nemo::host {

// Reads a user's line at a time from `in` until it ends, and writes each reply to `out` as it comes, ended by a newline. The whole
// conversation goes through the chat template of the checkpoint's tokenizer each time. A reply ends at the end-of-text token, at the tokens
// that the checkpoint's generation_config.json names, at what the template puts behind a reply, at settings.stop or after
// settings.max_tokens. With `prompt_mark` (a terminal), "> " asks for a line, and an interrupt ends a reply but not the conversation.
// Throws nemo::Error(kNotFound) where the checkpoint has no template.
void chat(runtime::TextGenerator& generator, const std::filesystem::path& checkpoint, runtime::GenerateSettings settings,
          const std::optional<std::string>& system, std::istream& in, std::ostream& out, bool prompt_mark);

}  // namespace nemo::host

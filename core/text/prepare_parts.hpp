// core/text/prepare_parts.hpp - the pieces of input that prepare() works on, and the files that it keeps their tokens in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/text/prepare.hpp"
#include "nemo/cpp/indexed_file.hpp"

namespace nemo::text {

// Bytes [begin, end) of an input; of JSON lines whole lines.
struct InputPart {
  size_t input = 0;
  uint64_t begin = 0, end = 0;
};

// Depends on the inputs only, not on the machine. Throws Error(kNotFound).
[[nodiscard]] std::vector<InputPart> cut_inputs(const std::vector<std::filesystem::path>& inputs);

[[nodiscard]] bool is_json_lines(const std::filesystem::path& file);

// Set in the length of a sequence whose document goes on with the next one.
inline constexpr uint32_t kDocumentGoesOn = uint32_t{1} << 31;

// The tokens of a part: in the file a u64 count, that many u32 lengths, then the tokens.
struct TokenPart {
  std::vector<uint32_t> lengths;  // of sequences
  std::string tokens;             // in the output's type
};

// Encodes what a part has. Throws Error(kDataLoss) with FILE:line.
[[nodiscard]] TokenPart encode_part(const Tokenizer& tokenizer, const PrepareSettings& settings, sdk::TokenType type,
                                    const InputPart& part);

// Under a passing name first, synced, then renamed.
void write_part(const std::filesystem::path& file, const TokenPart& part);
[[nodiscard]] TokenPart read_part(const std::filesystem::path& file);

// Flushes a file or folder to the disk. Throws Error(kDevice).
void sync_path(const std::filesystem::path& path);

}  // namespace nemo::text

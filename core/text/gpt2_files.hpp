// core/text/gpt2_files.hpp - vocab.json and merges.txt as GPT-2 and Hugging Face write them, checked.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/byte_pair.hpp"

namespace nemo::text {

// A byte-level vocabulary. Files write tokens in an alphabet of 256 printable characters, one for each byte.
struct Gpt2Vocabulary {
  std::vector<std::string> written;  // by id, as in the file
  std::vector<std::string> bytes;    // by id, what the token stands for
  std::array<int32_t, 256> byte_ids{};
};

// {"token": id, ...} with ids 0..n-1, a token for every byte. Throws Error(kDataLoss) with WHERE:line:column, or the token at fault.
[[nodiscard]] Gpt2Vocabulary parse_gpt2_vocabulary(std::string_view json, std::string_view where);

// One "left right" a line, best first; a first line that starts with "#version" and empty lines are passed over. Throws Error(kDataLoss)
// with WHERE:line.
[[nodiscard]] std::vector<Merge> parse_gpt2_merges(std::string_view text, const Gpt2Vocabulary& vocabulary, std::string_view where);

// The inverse of the two.
[[nodiscard]] std::string write_gpt2_vocabulary(const Gpt2Vocabulary& vocabulary);
[[nodiscard]] std::string write_gpt2_merges(std::span<const Merge> merges, const Gpt2Vocabulary& vocabulary);

}  // namespace nemo::text

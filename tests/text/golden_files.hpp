// tests/text/golden_files.hpp - the goldens of tests/golden/tokenizers; NEMO_TOKENIZER_GOLDENS names a folder with more of the same layout.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

#include "core/text/hf/aligned_text.hpp"
#include "tests/text/text_support.hpp"

namespace nemo::text {

inline std::filesystem::path goldens_root() {
  const char* other = std::getenv("NEMO_TOKENIZER_GOLDENS");
  return other != nullptr ? other : std::string(NEMO_SOURCE_DIR) + "/tests/golden/tokenizers";
}

// Folders below the root that have a file of this name, sorted.
inline std::vector<std::filesystem::path> golden_folders(const std::string& file) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(goldens_root()))
    if (std::filesystem::exists(entry.path() / file)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

inline std::vector<nlohmann::json> json_lines(const std::filesystem::path& file) {
  std::vector<nlohmann::json> out;
  std::istringstream in(read_all(file.string()));
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) out.push_back(nlohmann::json::parse(line));
  return out;
}

inline std::vector<hf::Span> spans_of(const nlohmann::json& list) {
  std::vector<hf::Span> out;
  for (const auto& s : list) out.push_back({s[0].get<uint32_t>(), s[1].get<uint32_t>()});
  return out;
}

inline std::vector<int32_t> ids_of(const nlohmann::json& list) { return list.get<std::vector<int32_t>>(); }

}  // namespace nemo::text

namespace nemo::text::hf {
inline void PrintTo(const Span& s, std::ostream* out) { *out << "[" << s.begin << "," << s.end << "]"; }
}  // namespace nemo::text::hf

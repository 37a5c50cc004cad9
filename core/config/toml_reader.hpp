// core/config/toml_reader.hpp - TOML text to a flat list of leaves. The only place that knows toml++.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/value.hpp"

namespace nemo::config {

// One key with its place (of the key, from 1).
struct TomlLeaf {
  std::string path;
  Value value;
  int line;
  int column;
};
struct TomlTable {
  std::string path;
  int line;
  int column;
};
struct TomlTree {
  std::vector<TomlLeaf> leaves;
  std::vector<TomlTable> tables;  // also empty ones; every one that is written, or implied by a dotted key
};

// Throws Error(kConfig) "FILE:LINE:COLUMN: bad TOML: REASON".
[[nodiscard]] TomlTree read_toml(std::string_view text, const std::string& file);

// nullopt where `text` is not TOML.
[[nodiscard]] std::optional<TomlTree> try_read_toml(std::string_view text);

}  // namespace nemo::config

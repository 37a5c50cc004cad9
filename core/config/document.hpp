// core/config/document.hpp - a recipe with its bases and the command line's overrides merged: settings as written, each with its origin.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/toml_reader.hpp"
#include "core/config/value.hpp"

namespace nemo::config {

struct Entry {
  Value value;
  Origin origin;
};

// Values are as written: no defaults, no types checked (that is the Resolver's work). Immutable once made; any thread may read it.
class Document {
 public:
  // `recipe` is a path, or the name of a shipped recipe ("quickstart", "quickstart.toml"), which is looked up in `recipe_dirs` when no
  // such file exists. A file may start from another by the top-level key `base = "FILE"`, looked up in the folder of the file that names
  // it, then (with or without ".toml") in `recipe_dirs`. The file that names a base overrides it key by key; lists are replaced as a
  // whole; overrides ("a.b.c=VALUE", later ones win) override all files. VALUE is a TOML value; text that is none is taken as a string.
  // Throws Error(kConfig): file not found (says where searched), base cycle, bad TOML (file:line:column), malformed override.
  [[nodiscard]] static Document load(const std::filesystem::path& recipe, std::span<const std::filesystem::path> recipe_dirs,
                                     std::span<const std::string> overrides);

  // One text without a base; `file_name` is used for origins, and its folder for relative paths.
  [[nodiscard]] static Document parse(std::string_view text, std::string_view file_name, std::span<const std::string> overrides = {});

  // The same with defaults below it: settings of `section` that it does not have are those of `toml` (the section's lines); `name` is their
  // origin.
  [[nodiscard]] Document with_defaults(const std::string& section, std::string_view toml, const std::string& name) const;

  // The same without one section, whoever set it.
  [[nodiscard]] Document without(const std::string& section) const;

  // The recipe file as opened.
  [[nodiscard]] const std::string& recipe() const { return recipe_; }
  // Leaves by full dotted path ("optim.schedule.type").
  [[nodiscard]] const std::map<std::string, Entry>& entries() const { return entries_; }
  // Tables by full dotted path, also empty ones.
  [[nodiscard]] const std::map<std::string, Origin>& tables() const { return tables_; }
  // NULL if not set.
  [[nodiscard]] const Entry* find(std::string_view path) const;
  // Names of the tables directly in `path` ("" is the root): which sections, or which `[log.ID]`, are written.
  [[nodiscard]] std::vector<std::string> tables_in(std::string_view path) const;

 private:
  void load_file(const std::filesystem::path& file, Origin::Kind kind, std::span<const std::filesystem::path> recipe_dirs,
                 std::vector<std::filesystem::path>& open);
  void merge(const TomlTree& tree, const Origin& origin);
  void override_with(const std::string& text);

  std::string recipe_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, Origin> tables_;
};

// The shipped recipes: file names without ".toml", sorted.
[[nodiscard]] std::vector<std::string> recipe_names(std::span<const std::filesystem::path> recipe_dirs);

}  // namespace nemo::config

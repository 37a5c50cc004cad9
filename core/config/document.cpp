#include "core/config/document.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"

namespace nemo::config {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& message) { throw Error(Code::kConfig, message); }

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) fail("cannot read recipe " + file.string() + "; check that it is a file that you may read");
  return text;
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string join(const std::vector<fs::path>& paths, const char* separator) {
  std::string out;
  for (const fs::path& p : paths) out += (out.empty() ? "" : separator) + p.string();
  return out;
}

// The places where a folder of shipped recipes may have one: by its file name, or that without ".toml".
void add_shipped(const fs::path& dir, const fs::path& name, std::vector<fs::path>& places) {
  places.push_back((dir / name).lexically_normal());
  if (name.extension() != ".toml") places.push_back((dir / (name.string() + ".toml")).lexically_normal());
}

std::string not_found(const fs::path& recipe, const std::vector<fs::path>& tried, std::span<const fs::path> dirs) {
  const std::string close = nearest_name(recipe.stem().string(), recipe_names(dirs));
  return recipe.string() + " not found; searched " + join(tried, ", ") + (close.empty() ? "" : "; did you mean " + close + "?");
}

fs::path find_recipe(const fs::path& recipe, std::span<const fs::path> dirs) {
  std::vector<fs::path> tried{recipe};
  if (recipe.is_relative())
    for (const fs::path& dir : dirs) add_shipped(dir, recipe, tried);
  const auto found = std::find_if(tried.begin(), tried.end(), is_file);
  if (found != tried.end()) return found->lexically_normal();
  fail("recipe " + not_found(recipe, tried, dirs));
}

// The same file under two names is one file in a cycle check.
bool is_same_file(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

bool has_one_leaf_of_list(const TomlTree& tree) {
  return tree.leaves.size() == 1 && tree.leaves[0].value.as<List>() && tree.leaves[0].value.as<List>()->size() == 1;
}

}  // namespace

Document Document::load(const fs::path& recipe, std::span<const fs::path> recipe_dirs, std::span<const std::string> overrides) {
  Document document;
  const fs::path file = find_recipe(recipe, recipe_dirs);
  document.recipe_ = file.string();
  std::vector<fs::path> open;
  document.load_file(file, Origin::Kind::kRecipe, recipe_dirs, open);
  for (const std::string& text : overrides) document.override_with(text);
  return document;
}

Document Document::parse(std::string_view text, std::string_view file_name, std::span<const std::string> overrides) {
  Document document;
  document.recipe_ = file_name;
  document.merge(read_toml(text, document.recipe_), {Origin::Kind::kRecipe, document.recipe_, 0, 0});
  if (const Entry* base = document.find("base")) fail(location(base->origin, "base") + ": a resolved recipe has no base");
  for (const std::string& override_text : overrides) document.override_with(override_text);
  return document;
}

Document Document::with_defaults(const std::string& section, std::string_view toml, const std::string& name) const {
  Document out;
  out.recipe_ = recipe_;
  out.merge(read_toml("[" + section + "]\n" + std::string(toml), name), {Origin::Kind::kBase, name, 0, 0});
  for (const auto& [path, origin] : tables_) out.tables_[path] = origin;
  for (const auto& [path, entry] : entries_) out.entries_[path] = entry;
  return out;
}

Document Document::without(const std::string& section) const {
  Document out = *this;
  std::erase_if(out.tables_, [&](const auto& table) { return table.first == section || is_below(table.first, section); });
  std::erase_if(out.entries_, [&](const auto& entry) { return is_below(entry.first, section); });
  return out;
}

void Document::load_file(const fs::path& file, Origin::Kind kind, std::span<const fs::path> recipe_dirs, std::vector<fs::path>& open) {
  const std::string name = file.string();
  TomlTree tree = read_toml(read_file(file), name);
  open.push_back(file);
  const auto base = std::find_if(tree.leaves.begin(), tree.leaves.end(), [](const TomlLeaf& leaf) { return leaf.path == "base"; });
  if (base != tree.leaves.end()) {
    const std::string at = location({kind, name, base->line, base->column}, "base");
    const auto* text = base->value.as<std::string>();
    if (text == nullptr || text->empty()) fail(at + ": expected the name of a recipe file, found " + describe(base->value));
    std::vector<fs::path> tried{(file.parent_path() / *text).lexically_normal()};
    if (fs::path(*text).is_relative())
      for (const fs::path& dir : recipe_dirs) add_shipped(dir, *text, tried);
    const auto found = std::find_if(tried.begin(), tried.end(), is_file);
    if (found == tried.end()) fail(at + ": " + not_found(*text, tried, recipe_dirs));
    if (std::any_of(open.begin(), open.end(), [&](const fs::path& p) { return is_same_file(p, *found); }))
      fail(at + ": recipes inherit in a circle: " + join(open, " -> ") + " -> " + found->string());
    tree.leaves.erase(base);
    load_file(*found, Origin::Kind::kBase, recipe_dirs, open);
  }
  merge(tree, {kind, name, 0, 0});
}

// What is written later wins: a leaf replaces a table of its name and the other way round.
void Document::merge(const TomlTree& tree, const Origin& origin) {
  const auto erase_ancestors = [this](const std::string& path) {
    for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) entries_.erase(path.substr(0, dot));
  };
  const auto placed = [&origin](int line, int column) {
    Origin at = origin;
    if (origin.kind != Origin::Kind::kCommandLine) at.line = line, at.column = column;
    return at;
  };
  for (const TomlTable& table : tree.tables) {
    erase_ancestors(table.path);
    entries_.erase(table.path);
    if (origin.kind == Origin::Kind::kCommandLine)
      tables_.try_emplace(table.path, origin);
    else
      tables_[table.path] = placed(table.line, table.column);
  }
  for (const TomlLeaf& leaf : tree.leaves) {
    erase_ancestors(leaf.path);
    std::erase_if(entries_, [&](const auto& e) { return is_below(e.first, leaf.path); });
    std::erase_if(tables_, [&](const auto& t) { return t.first == leaf.path || is_below(t.first, leaf.path); });
    entries_[leaf.path] = {leaf.value, placed(leaf.line, leaf.column)};
  }
}

// TOML decides what key and value are. The value is also read as the one element of a list, so that text which would end the line or
// start a comment ("5#b") cannot be cut off silently.
void Document::override_with(const std::string& text) {
  const std::string at = "command line: " + text;
  const size_t equals = text.find('=');
  const std::string key = text.substr(0, equals);
  const auto parsed_key = try_read_toml(key + " = 0");
  if (equals == std::string::npos || key.find('\n') != std::string::npos || !parsed_key || parsed_key->leaves.size() != 1)
    fail(at + ": an override is written section.setting=value, as in trainer.max_steps=100");
  const std::string& path = parsed_key->leaves[0].path;
  if (path == "base") fail(at + ": base can only be set inside a recipe");
  if (parsed_key->tables.empty()) fail(at + ": an override names a section: section." + path + "=value");

  const std::string value = text.substr(equals + 1);
  auto tree = value.find('\n') == std::string::npos ? try_read_toml(key + " = " + value) : std::nullopt;
  const auto listed = tree ? try_read_toml("x = [" + value + "]") : std::nullopt;
  if (!listed || !has_one_leaf_of_list(*listed)) {
    tree = parsed_key;
    tree->leaves[0].value = {value};
  }
  merge(*tree, {Origin::Kind::kCommandLine, text, 0, 0});
}

const Entry* Document::find(std::string_view path) const {
  const auto found = entries_.find(std::string(path));
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<std::string> Document::tables_in(std::string_view path) const {
  std::vector<std::string> names;
  const size_t skip = path.empty() ? 0 : path.size() + 1;
  for (const auto& [name, origin] : tables_)
    if ((path.empty() || is_below(name, path)) && name.find('.', skip) == std::string::npos) names.push_back(name.substr(skip));
  return names;
}

std::vector<std::string> recipe_names(std::span<const fs::path> recipe_dirs) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const fs::path& dir : recipe_dirs)
    for (const auto& entry : fs::directory_iterator(dir, ignored))
      if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace nemo::config

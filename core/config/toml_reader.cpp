#include "core/config/toml_reader.hpp"

#include <toml++/toml.h>

#include "core/base/error.hpp"

namespace nemo::config {
namespace {

Value to_value(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::boolean:
      return {node.as_boolean()->get()};
    case toml::node_type::integer:
      return {node.as_integer()->get()};
    case toml::node_type::floating_point:
      return {node.as_floating_point()->get()};
    case toml::node_type::string:
      return {node.as_string()->get()};
    case toml::node_type::date:
      return {Foreign{"a date"}};
    case toml::node_type::time:
      return {Foreign{"a time"}};
    case toml::node_type::date_time:
      return {Foreign{"a date and time"}};
    case toml::node_type::table:
      return {Foreign{"a table"}};
    default:
      break;
  }
  List list;
  for (const toml::node& element : *node.as_array()) list.push_back(to_value(element));
  return {std::move(list)};
}

void flatten(const toml::table& table, const std::string& parent, TomlTree& tree) {
  for (const auto& [key, node] : table) {
    const std::string path = join_path(parent, key.str());
    const toml::source_position at = key.source().begin;
    const int line = static_cast<int>(at.line), column = static_cast<int>(at.column);
    if (const toml::table* child = node.as_table()) {
      tree.tables.push_back({path, line, column});
      flatten(*child, path, tree);
    } else {
      tree.leaves.push_back({path, to_value(node), line, column});
    }
  }
}

}  // namespace

TomlTree read_toml(std::string_view text, const std::string& file) {
  try {
    TomlTree tree;
    flatten(toml::parse(text, file), "", tree);
    return tree;
  } catch (const toml::parse_error& e) {
    const toml::source_position at = e.source().begin;
    throw Error(Code::kConfig,
                file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": bad TOML: " + std::string(e.description()));
  }
}

std::optional<TomlTree> try_read_toml(std::string_view text) {
  try {
    return read_toml(text, "");
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace nemo::config

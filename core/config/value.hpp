// core/config/value.hpp - one setting's value as a recipe can write it, and where it was written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace nemo::config {

// A TOML value that no setting takes (date, time, table inside a list). Kept so that the fault names it, with its place.
struct Foreign {
  std::string kind;  // "a date", "a table"
  bool operator==(const Foreign&) const = default;
};

struct Value;
using List = std::vector<Value>;

struct Value {
  std::variant<bool, int64_t, double, std::string, List, Foreign> data;
  template <class T>
  [[nodiscard]] const T* as() const {
    return std::get_if<T>(&data);
  }
};
[[nodiscard]] bool operator==(const Value& a, const Value& b);

// As TOML text that reads back to the same value. Floats are the shortest text with the same bits, always with a point or exponent.
[[nodiscard]] std::string to_literal(const Value& value);
// For messages: `the string "abc"`, `the integer 3`, `the boolean true`, `a list`.
[[nodiscard]] std::string describe(const Value& value);

// Where a value comes from. `file` is the path as opened (relative if the user's path was); for the command line it is the override's
// text ("model.num_layers=abc") and line and column are 0; for a default all are empty. Line and column count from 1 and point at the key.
struct Origin {
  enum class Kind { kDefault, kBase, kRecipe, kCommandLine };
  Kind kind = Kind::kDefault;
  std::string file;
  int line = 0;
  int column = 0;
  bool operator==(const Origin&) const = default;
};

// For tables, with the file's name only: "default", "base llama3_8b.toml:12:1", "recipe r.toml:3:5", "command line".
[[nodiscard]] std::string to_string(const Origin& origin);

// "file:line:column: PATH" or "command line: PATH=VALUE": how every fault of a written value begins.
[[nodiscard]] std::string location(const Origin& origin, std::string_view path);

// Dotted paths. A key that is not a bare TOML key is quoted: join_path("a", "b.c") is `a."b.c"`. An empty parent is the root.
[[nodiscard]] std::string join_path(std::string_view parent, std::string_view key);
// True if `path` lies strictly below the table `table`.
[[nodiscard]] bool is_below(std::string_view path, std::string_view table);

}  // namespace nemo::config

// core/config/section.hpp - the resolved settings of one section of the recipe, as core and plugins read them.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.hpp"
#include "core/config/schema.hpp"
#include "core/config/value.hpp"
#include "nemo/abi.h"

// What the SDK's opaque nemo_config is: the base of Section, so that `const Section*` converts.
struct nemo_config {};

namespace nemo::config {

struct Setting {
  Field field;
  std::optional<Value> value;  // of the field's type; nullopt: unset
  Origin origin;               // of the value; default if unset
};

// Paths are relative to the section ("schedule.type"). Every getter throws Error(kInvalidArgument) for a path that no schema of the
// section has, for a getter of another type than the field's, and for an unset value (has() tells). Reading is for any thread; set() is
// for the host, before the section is shared, and ends the life of references to the value that it replaces.
class Section : public nemo_config {
 public:
  Section(std::string name, std::string recipe) : name_(std::move(name)), recipe_(std::move(recipe)) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& recipe() const { return recipe_; }
  // In the order of the schemas.
  [[nodiscard]] const std::vector<Setting>& settings() const { return settings_; }

  // True if a schema has the path.
  [[nodiscard]] bool knows(std::string_view path) const { return find(path) != nullptr; }
  // True if it has a value (of a table: any key).
  [[nodiscard]] bool has(std::string_view path) const;
  [[nodiscard]] bool get_bool(std::string_view path) const;
  [[nodiscard]] int64_t get_int(std::string_view path) const;
  [[nodiscard]] double get_float(std::string_view path) const;
  [[nodiscard]] const std::string& get_string(std::string_view path) const;  // string, path, enum
  [[nodiscard]] const List& get_list(std::string_view path) const;
  [[nodiscard]] std::vector<int64_t> get_ints(std::string_view path) const;
  [[nodiscard]] std::vector<double> get_floats(std::string_view path) const;
  [[nodiscard]] std::vector<std::string> get_strings(std::string_view path) const;
  // The keys of a free-form table; each is read by the getter of its type at "TABLE.KEY".
  [[nodiscard]] std::vector<std::string> get_keys(std::string_view path) const;
  [[nodiscard]] const Origin& origin(std::string_view path) const;

  // Gives a known field a value that the host computed (model.vocab_size). Throws Error(kInvalidArgument) if it does not fit the field.
  void set(std::string_view path, const Value& value, Origin origin = {});

  // For the Resolver: a further field.
  void add(Setting setting);

 private:
  [[nodiscard]] const Setting* find(std::string_view path) const;
  [[nodiscard]] const Setting& at(std::string_view path) const;
  template <class T>
  [[nodiscard]] const T& get(std::string_view path, const char* asked) const;
  template <class T>
  [[nodiscard]] std::vector<T> get_all(std::string_view path, const char* asked) const;

  std::string name_;
  std::string recipe_;
  std::vector<Setting> settings_;
  std::map<std::string, size_t, std::less<>> index_;
};

// All sections of a run. Sections keep their address for the life of the Configuration, also when it is moved.
class Configuration {
 public:
  // Throws Error(kInvalidArgument) where there is no such section.
  [[nodiscard]] const Section& section(std::string_view name) const;
  [[nodiscard]] Section& section(std::string_view name);
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] const std::list<Section>& sections() const { return sections_; }
  Section& add(Section section) { return sections_.emplace_back(std::move(section)); }

 private:
  std::list<Section> sections_;
};

// A fault that only shows when settings are seen together (a plugin's error with key "path"), as Error(kConfig)
// "FILE:LINE:COLUMN: SECTION.PATH: MESSAGE". `path` need not be known; a value that no file sets is placed by the recipe's name.
[[nodiscard]] Error fault_at(const Section& section, std::string_view path, const std::string& message);

}  // namespace nemo::config

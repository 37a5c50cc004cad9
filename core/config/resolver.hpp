// core/config/resolver.hpp - a recipe against the schemas: every fault at once, or the settings of the run.
#pragma once

#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/section.hpp"
#include "nemo/config.h"

namespace nemo::config {

// Use: add every section with the schemas that it is made of, then resolve. A section may lie inside another ("log" and
// "log.tensorboard"); a key belongs to the longest section name that it lies in.
class Resolver {
 public:
  explicit Resolver(const Document& document) : document_(document) {}  // borrowed

  // Section `name` gets the fields of `schema` (NULL: none), besides those added before. `owner` is the component ("core", "llama") and
  // is named in faults. Throws Error(kInvalidArgument) for a field that the section has already, and what read_schema throws.
  void add(const std::string& name, const std::string& owner, const nemo_schema* schema);

  // Defaults filled in, integers made floats, paths made absolute: relative to the folder of the file that sets them if they exist there,
  // else to the current folder; from the command line the current folder comes first, then the recipe's; a default is relative to the
  // current folder. A scalar that the command line gives to a string setting is its text ("job.name=2024"). Throws one Error(kConfig) with
  // a line for each fault, in the order base files, recipe, command line, missing settings.
  [[nodiscard]] Configuration resolve() const;

 private:
  friend Section core_section(const Document& document, const std::string& name);
  struct Part {
    std::string name;
    std::vector<std::string> owners;
    std::vector<Field> fields;
  };
  struct Fault {
    Origin origin;
    std::string text;
  };
  using Faults = std::vector<Fault>;

  [[nodiscard]] Section resolve_part(const Part& part, Faults& faults) const;
  [[nodiscard]] Setting resolve_field(const Part& part, const Field& field, Faults& faults) const;
  void resolve_table(const Part& part, const Field& field, Section& section, Faults& faults) const;
  [[nodiscard]] Value take_paths(const Field& field, Value value, const Origin& origin) const;
  void find_unknown(Faults& faults) const;
  void check_key(const std::string& path, const Origin& origin, Faults& faults) const;
  [[nodiscard]] const Part* part_of(std::string_view path) const;
  [[nodiscard]] std::string suggestion(const Part& part, const std::string& key) const;
  [[nodiscard]] static Error to_error(Faults faults);

  const Document& document_;
  std::vector<Part> parts_;
};

// The core's own fields of one section, resolved alone, for what must be known before plugins are chosen (model.plugin, log.loggers,
// plugins.paths). Keys that the core does not have are left for the Resolver to judge. Faults as Resolver::resolve.
[[nodiscard]] Section core_section(const Document& document, const std::string& name);

}  // namespace nemo::config

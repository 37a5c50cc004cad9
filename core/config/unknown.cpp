// The Resolver's search for keys that no schema has.
#include <algorithm>

#include "core/base/nearest.hpp"
#include "core/config/resolver.hpp"

namespace nemo::config {
namespace {

std::string join(const std::vector<std::string>& names, const char* separator) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : separator) + name;
  return out;
}

std::string last_key(const std::string& path) { return path.substr(path.rfind('.') + 1); }

}  // namespace

const Resolver::Part* Resolver::part_of(std::string_view path) const {
  const Part* best = nullptr;
  for (const Part& part : parts_)
    if (is_below(path, part.name) && (best == nullptr || part.name.size() > best->name.size())) best = &part;
  return best;
}

void Resolver::find_unknown(Faults& faults) const {
  std::vector<std::string> known;
  for (const Part& part : parts_) known.push_back(part.name);
  const auto is_known = [&](const std::string& name) {
    return std::any_of(known.begin(), known.end(), [&](const std::string& k) { return k == name || is_below(k, name); });
  };
  for (const std::string& name : document_.tables_in("")) {
    if (is_known(name)) continue;
    const Origin& origin = document_.tables().at(name);
    const std::string close = nearest_name(name, known);
    const std::string hint = close.empty() ? "sections are " + join(known, ", ") : "did you mean [" + close + "]?";
    faults.push_back({origin, location(origin, "[" + name + "]") + ": unknown section; " + hint});
  }
  for (const auto& [path, entry] : document_.entries()) check_key(path, entry.origin, faults);
  for (const auto& [path, origin] : document_.tables()) {
    const auto inside = document_.entries().lower_bound(path + ".");
    const bool empty = inside == document_.entries().end() || !is_below(inside->first, path);
    if (empty && !is_known(path) && part_of(path)) check_key(path, origin, faults);
  }
}

void Resolver::check_key(const std::string& path, const Origin& origin, Faults& faults) const {
  const Part* part = part_of(path);
  if (part == nullptr && path.find('.') != std::string::npos) return;  // its section was reported
  if (part == nullptr) {
    const auto section = std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) { return p.name == path; });
    std::string hint = section == parts_.end() ? "" : "; [" + path + "] is a section, write " + path + ".SETTING";
    for (const Part& p : parts_)
      for (const Field& field : p.fields)
        if (hint.empty() && last_key(field.path) == path) hint = "; did you mean " + p.name + "." + field.path + "?";
    faults.push_back({origin, location(origin, path) + ": outside of any section" + hint});
    return;
  }
  const std::string key = path.substr(part->name.size() + 1);
  for (const Field& field : part->fields) {
    if (key == field.path || is_below(key, field.path)) return;  // right, or reported where the field was resolved
    if (!is_below(field.path, key)) continue;
    if (const Entry* entry = document_.find(path))
      faults.push_back({origin, location(origin, path) + ": expected a table (" + field.path + " ...), found " + describe(entry->value)});
    return;
  }
  faults.push_back({origin, location(origin, path) + ": unknown key; looked in " + join(part->owners, " and ") + suggestion(*part, key)});
}

std::string Resolver::suggestion(const Part& part, const std::string& key) const {
  std::vector<std::string> candidates;
  for (const Part& p : parts_)
    for (const Field& field : p.fields) {
      const std::string full = p.name + "." + field.path;
      if (is_below(full, part.name)) candidates.push_back(full.substr(part.name.size() + 1));
    }
  for (const Part& p : parts_)
    for (const Field& field : p.fields)
      if (field.path == key) return "; did you mean " + p.name + "." + key + "?";
  if (const std::string close = nearest_name(key, candidates); !close.empty()) return "; did you mean " + part.name + "." + close + "?";
  constexpr size_t kShown = 12;
  if (candidates.empty()) return "; [" + part.name + "] has no settings";
  const bool more = candidates.size() > kShown;
  if (more) candidates.resize(kShown);
  return "; known are " + join(candidates, ", ") + (more ? ", ..." : "");
}

}  // namespace nemo::config

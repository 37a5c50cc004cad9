#include "core/plugin/render.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

namespace nemo::plugin {
namespace {

// One line of the listing: a component of a file, or a refused file whose record could not be read (component.kind 0).
struct Entry {
  ComponentName component;
  const ProbeResult* probe;
  std::string state;   // "ok", "shadowed", "ambiguous", "refused"
  std::string reason;  // of a refused file; of the others the path of the file that is in the way
};

std::vector<Entry> entries_of(const Listing& listing) {
  struct Owner {
    size_t entry;
    const Candidate* file;
  };
  std::vector<Entry> entries;
  std::map<ComponentName, Owner> owners;
  for (const Candidate& c : listing.candidates) {
    if (c.probe.components.empty()) entries.push_back({{}, &c.probe, "refused", c.probe.reason});
    for (const ComponentName& name : c.probe.components) {
      entries.push_back({name, &c.probe, c.probe.ok ? "ok" : "refused", c.probe.reason});
      if (!c.probe.ok) continue;
      const auto [owner, is_first] = owners.try_emplace(name, Owner{entries.size() - 1, &c});
      if (is_first) continue;
      const Owner& first = owner->second;
      const bool same_directory = first.file->directory == c.directory;
      entries.back().state = same_directory ? "ambiguous" : "shadowed";
      entries.back().reason = first.file->probe.path.string();
      if (same_directory) entries[first.entry].state = "ambiguous", entries[first.entry].reason = c.probe.path.string();
    }
  }
  return entries;
}

std::string sdk_of(const ProbeResult& p) {
  if (p.sdk_build == 0) return "-";
  return std::to_string(p.abi_major) + "." + std::to_string(p.abi_minor) + (p.draft ? " draft" : "");
}

std::string state_of(const Entry& e) {
  if (e.state == "refused") return "refused: " + e.reason;
  if (e.state == "ok") return e.state;
  return e.state + (e.state == "shadowed" ? " by " : " with ") + e.reason;
}

const char* state_word(DirectoryState state) {
  switch (state) {
    case DirectoryState::kSearched:
      return "searched";
    case DirectoryState::kMissing:
      return "missing";
    case DirectoryState::kRefused:
      return "refused";
  }
  return "unknown";
}

constexpr size_t kColumns = 5;
using Row = std::array<std::string, kColumns>;

std::string aligned(const std::vector<Row>& rows) {
  std::array<size_t, kColumns> width{};
  for (const Row& row : rows)
    for (size_t i = 0; i < kColumns; ++i) width[i] = std::max(width[i], row[i].size());
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i + 1 < kColumns; ++i) text += row[i] + std::string(width[i] - row[i].size() + 2, ' ');
    text += row.back() + "\n";
  }
  return text;
}

}  // namespace

std::string render_list(const Listing& listing) {
  std::vector<Row> rows = {{"KIND", "ID", "SDK", "LIBRARY", "STATE"}};
  for (const Entry& e : entries_of(listing)) {
    const bool named = e.component.kind != 0;
    rows.push_back({named ? std::string(kind_name(e.component.kind)) : "-", named ? e.component.id : "-", sdk_of(*e.probe),
                    e.probe->path.string(), state_of(e)});
  }
  std::string text = aligned(rows);
  for (const SearchDirectory& d : listing.directories)
    text +=
        std::string(state_word(d.state)) + " " + d.path.string() + " (" + d.origin + ")" + (d.reason.empty() ? "" : ": " + d.reason) + "\n";
  return text;
}

nlohmann::ordered_json list_json(const Listing& listing) {
  nlohmann::ordered_json json = {{"directories", nlohmann::ordered_json::array()}, {"plugins", nlohmann::ordered_json::array()}};
  for (const SearchDirectory& d : listing.directories)
    json["directories"].push_back({{"path", d.path.string()}, {"origin", d.origin}, {"state", state_word(d.state)}, {"reason", d.reason}});
  for (const Entry& e : entries_of(listing)) {
    nlohmann::ordered_json row = {{"kind", nullptr}, {"id", nullptr}, {"sdk", sdk_of(*e.probe)}, {"sdk_build", e.probe->sdk_build}};
    if (e.component.kind != 0) row["kind"] = kind_name(e.component.kind), row["id"] = e.component.id;
    row.update({{"draft", e.probe->draft}, {"library", e.probe->path.string()}, {"state", e.state}, {"reason", e.reason}});
    json["plugins"].push_back(std::move(row));
  }
  return json;
}

namespace {

// "variants  a, b" and "reads     LlamaForCausalLM" of a model; empty for other kinds.
std::string model_lines(const Component& c) {
  if (c.kind != NEMO_KIND_MODEL) return "";
  const auto& api = c.api<nemo_model_api>();
  std::string variants, kinds;
  const auto append = [](std::string& list, nemo_str name) { list += (list.empty() ? "" : ", ") + std::string(name.ptr, name.len); };
  for (uint64_t i = 0; i < api.n_variants; ++i) append(variants, api.variants[i].name);
  for (uint64_t i = 0; i < api.n_hf_architectures; ++i) append(kinds, api.hf_architectures[i].architecture);
  return (variants.empty() ? "" : "variants " + variants + "\n") + (kinds.empty() ? "" : "reads    " + kinds + "\n");
}

}  // namespace

std::string render_component(const Component& c) {
  return std::string(kind_name(c.kind)) + " " + c.id + " " + c.version + "\n" + c.doc + "\n\nlibrary  " + c.library.string() +
         "\nsha256   " + c.file_hash() + "\n" + model_lines(c);
}

nlohmann::ordered_json component_json(const Component& c) {
  return {{"kind", kind_name(c.kind)}, {"id", c.id}, {"version", c.version}, {"doc", c.doc}, {"library", c.library.string()},
          {"sha256", c.file_hash()}};
}

}  // namespace nemo::plugin

#include "core/plugin/not_found.hpp"

#include <algorithm>

#include "core/base/nearest.hpp"

namespace nemo::plugin {
namespace {

std::vector<std::string> known_ids(nemo_kind kind, const Listing& listing) {
  std::vector<std::string> ids;
  for (const Candidate& c : listing.candidates)
    for (const ComponentName& component : c.probe.components)
      if (c.probe.ok && component.kind == kind) ids.push_back(component.id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::string suggestion(const ComponentName& name, const Listing& listing) {
  const std::string kind(kind_name(name.kind));
  const std::vector<std::string> ids = known_ids(name.kind, listing);
  if (const std::string near = nearest_name(name.id, ids); !near.empty()) return "; did you mean \"" + near + "\"?";
  if (ids.empty()) return "; no " + kind + " plugin was found at all";
  std::string text = "; known: ";
  for (size_t i = 0; i < ids.size(); ++i) text += (i == 0 ? "" : ", ") + ids[i];
  return text;
}

std::string searched(const Listing& listing) {
  std::string text = "\nsearched:";
  if (listing.directories.empty()) return text + " nothing; set [plugins].paths or NEMO_PLUGIN_PATH";
  for (const SearchDirectory& d : listing.directories) {
    text += "\n  " + d.path.string() + " (" + d.origin + "): ";
    const auto here =
        std::count_if(listing.candidates.begin(), listing.candidates.end(), [&](const Candidate& c) { return c.directory == d.path; });
    if (d.state == DirectoryState::kSearched)
      text += std::to_string(here) + (here == 1 ? " library" : " libraries");
    else
      text += (d.state == DirectoryState::kRefused ? "refused: " : "") + d.reason;
  }
  return text;
}

// Files whose record names the wanted component come first: they are the likely cause.
std::string refused(const ComponentName& name, const Listing& listing) {
  const auto wanted = [&](const Candidate& c) {
    return std::find(c.probe.components.begin(), c.probe.components.end(), name) != c.probe.components.end();
  };
  std::string likely, others;
  for (const Candidate& c : listing.candidates) {
    if (c.probe.ok) continue;
    const bool names_it = wanted(c);
    (names_it ? likely : others) +=
        "\n  " + c.probe.path.string() + (names_it ? " (offers " + to_string(name) + ")" : "") + ": " + c.probe.reason;
  }
  return likely.empty() && others.empty() ? "" : "\nrefused:" + likely + others;
}

}  // namespace

std::string not_found_message(const ComponentName& name, const Listing& listing) {
  return "no " + std::string(kind_name(name.kind)) + " plugin \"" + name.id + "\"" + suggestion(name, listing) + searched(listing) +
         refused(name, listing);
}

}  // namespace nemo::plugin

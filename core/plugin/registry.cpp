#include "core/plugin/registry.hpp"

#include <algorithm>
#include <string>

#include "core/plugin/not_found.hpp"

namespace nemo::plugin {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> shared_objects(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code fault;
  for (fs::directory_iterator it(directory, fault), end; !fault && it != end; it.increment(fault))
    if (it->path().extension() == ".so") files.push_back(it->path());
  std::sort(files.begin(), files.end());
  return files;
}

bool offers(const Candidate& candidate, const ComponentName& name) {
  const auto& components = candidate.probe.components;
  return candidate.probe.ok && std::find(components.begin(), components.end(), name) != components.end();
}

}  // namespace

Registry::Registry(SearchPath path, HostTable& host) : path_(std::move(path)), host_(host) {}

Registry::~Registry() { shutdown(); }

const Listing& Registry::list() {
  if (listing_) return *listing_;
  Listing listing{path_.directories(), {}};
  for (const SearchDirectory& directory : listing.directories) {
    if (directory.state != DirectoryState::kSearched) continue;
    for (const fs::path& file : shared_objects(directory.path)) listing.candidates.push_back({probe(file), directory.path});
  }
  return listing_.emplace(std::move(listing));
}

const Component& Registry::find(nemo_kind kind, std::string_view id) {
  const ComponentName name{kind, std::string(id)};
  if (shut_down_) throw Error(Code::kInvalidArgument, to_string(name) + " was asked for after the plugins were shut down");
  if (const auto known = found_.find(name); known != found_.end()) return *known->second;
  const Library& library = load(choose(name));
  for (const auto& component : library.components())
    if (component->kind == kind && component->id == id) return *(found_[name] = component.get());
  throw Error(Code::kInternal, library.path().string() + " lost component " + to_string(name));
}

const Candidate& Registry::choose(const ComponentName& name) {
  std::vector<const Candidate*> matches;
  for (const Candidate& candidate : list().candidates)
    if (offers(candidate, name)) matches.push_back(&candidate);
  if (matches.empty()) throw Error(Code::kConfig, not_found_message(name, list()));
  const Candidate& first = *matches.front();
  for (size_t i = 1; i < matches.size(); ++i) {
    const std::string other = matches[i]->probe.path.string();
    if (matches[i]->directory == first.directory)
      throw Error(Code::kConfig, "two libraries of one directory offer " + to_string(name) + ": " + first.probe.path.string() + " and " +
                                     other + "; remove one of them");
    host_.log(NEMO_LOG_INFO, name.id,
              to_string(name) + " is taken from " + first.probe.path.string() + "; " + other + " also offers it and is not used");
  }
  return first;
}

Library& Registry::load(const Candidate& candidate) {
  for (const auto& library : libraries_)
    if (library->path() == candidate.probe.path) return *library;
  libraries_.push_back(std::make_unique<Library>(candidate.probe, host_));
  return *libraries_.back();
}

void Registry::shutdown() noexcept {
  shut_down_ = true;
  for (auto library = libraries_.rbegin(); library != libraries_.rend(); ++library) {
    try {
      (*library)->shutdown();
    } catch (const std::exception& e) {
      host_.log(NEMO_LOG_WARNING, (*library)->path().filename().string(), std::string("the plugin's shutdown failed: ") + e.what());
    }
  }
}

}  // namespace nemo::plugin

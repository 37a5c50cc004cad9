// core/plugin/registry.hpp - finds plugins by kind and id, loads them when they are asked for, and ends them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "core/plugin/component.hpp"
#include "core/plugin/host_table.hpp"
#include "core/plugin/library.hpp"
#include "core/plugin/probe.hpp"
#include "core/plugin/search_path.hpp"

namespace nemo::plugin {

// One file *.so of a searched directory.
struct Candidate {
  ProbeResult probe;
  std::filesystem::path directory;
};

struct Listing {
  std::vector<SearchDirectory> directories;  // in search order
  std::vector<Candidate> candidates;         // in search order, by file name within a directory; refused ones too
};

// Not thread-safe: [host-thread]. The HostTable outlives it. Plugin code runs in find() and shutdown() only.
class Registry {
 public:
  Registry(SearchPath path, HostTable& host);
  ~Registry();  // shuts down
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Every candidate, probed but not loaded. The directories are read at the first call.
  [[nodiscard]] const Listing& list();

  // The component, loading its library if need be. The first directory in search order wins, and files of the same id in later ones are
  // logged. Errors: kConfig if there is none (message: what was searched, which candidates were refused and why, the nearest id) or if two
  // files of one directory have it; those of Library if it cannot be loaded. The reference is valid as long as the Registry.
  [[nodiscard]] const Component& find(nemo_kind kind, std::string_view id);

  // Libraries loaded so far, in load order.
  [[nodiscard]] const std::vector<std::unique_ptr<Library>>& loaded() const { return libraries_; }

  // Calls the plugins' shutdown in reverse load order; a plugin that fails is logged. Call it when all instances are gone and before main
  // returns. Afterwards find() is kInvalidArgument.
  void shutdown() noexcept;

 private:
  const Candidate& choose(const ComponentName& name);
  Library& load(const Candidate& candidate);

  SearchPath path_;
  HostTable& host_;
  std::optional<Listing> listing_;
  std::vector<std::unique_ptr<Library>> libraries_;
  std::map<ComponentName, const Component*> found_;
  bool shut_down_ = false;
};

}  // namespace nemo::plugin

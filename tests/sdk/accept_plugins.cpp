// accept_plugins DIRECTORY KIND:ID...: exits 0 if the host finds, loads and accepts these components in the directory, and refuses no file
// of it.
#include <cstdio>
#include <string>

#include "core/plugin/registry.hpp"
#include "core/plugin/render.hpp"

namespace {

using namespace nemo::plugin;

void find_all(Registry& registry, int argc, char** argv) {
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    const size_t colon = name.find(':');
    const Component& c = registry.find(kind_from_name(name.substr(0, colon)), name.substr(colon + 1));
    std::printf("%s", render_component(c).c_str());
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) throw nemo::Error(nemo::Code::kConfig, "usage: accept_plugins DIRECTORY KIND:ID...");
  SearchSources sources;
  sources.environment = argv[1];
  HostTable table{HostOptions{}};
  Registry registry(SearchPath(sources), table);
  std::printf("%s", render_list(registry.list()).c_str());
  for (const Candidate& candidate : registry.list().candidates)
    if (!candidate.probe.ok) throw nemo::Error(nemo::Code::kUnsupported, candidate.probe.path.string() + ": " + candidate.probe.reason);
  find_all(registry, argc, argv);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}

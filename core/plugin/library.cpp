#include "core/plugin/library.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "core/plugin/error.hpp"

namespace nemo::plugin {
namespace {

[[noreturn]] void refuse(const std::string& reason) { throw Error(Code::kUnsupported, reason); }

// The host's own copy of a struct of the plugin that may have been built with other headers: fields that it lacks are zero; a field that
// only it knows must be zero, since ignoring a set option silently is worse than refusing.
template <class T>
T copy_struct(const void* theirs, const char* name) {
  constexpr uint32_t kMaxStruct = 1u << 16;
  uint32_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  if (size < sizeof(T) || size > kMaxStruct)
    refuse(std::string(name) + " has struct_size " + std::to_string(size) + ", this host needs at least " + std::to_string(sizeof(T)));
  const char* bytes = static_cast<const char*>(theirs);
  if (std::any_of(bytes + sizeof(T), bytes + size, [](char c) { return c != 0; }))
    refuse(std::string(name) + " sets a field that this host does not know; use a newer host");
  T ours{};
  std::memcpy(&ours, theirs, sizeof(T));
  return ours;
}

nemo_plugin_entry_fn* open_entry(const std::filesystem::path& path) {
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    const char* reason = ::dlerror();
    refuse(std::string("the dynamic loader refused it: ") + (reason != nullptr ? reason : "no reason given"));
  }
  void* symbol = ::dlsym(handle, NEMO_PLUGIN_ENTRY_NAME);
  if (symbol == nullptr) refuse("entry function " NEMO_PLUGIN_ENTRY_NAME " was not found after loading");
  return reinterpret_cast<nemo_plugin_entry_fn*>(symbol);
}

void check_equal_to_record(std::vector<ComponentName> described, std::vector<ComponentName> recorded) {
  std::sort(described.begin(), described.end());
  std::sort(recorded.begin(), recorded.end());
  const auto twice = std::adjacent_find(described.begin(), described.end());
  if (twice != described.end()) refuse("it describes " + to_string(*twice) + " twice");
  for (const ComponentName& name : described)
    if (!std::binary_search(recorded.begin(), recorded.end(), name))
      refuse("it offers " + to_string(name) + ", which its .nemo_plugin record does not name");
  for (const ComponentName& name : recorded)
    if (!std::binary_search(described.begin(), described.end(), name))
      refuse("its .nemo_plugin record names " + to_string(name) + ", which it does not offer");
}

}  // namespace

Library::Library(const ProbeResult& probe, HostTable& table) : path_(probe.path) {
  const std::string where = "plugin library " + path_.string();
  nemo_host* host = table.host_of(path_);
  try {
    nemo_plugin_entry_fn* entry = open_entry(path_);
    const nemo_plugin* description = nullptr;
    check(entry(table.api(), host, &description));
    read_description(description, probe, host);
  } catch (const PluginError& e) {
    throw PluginError(e.plugin_code(), where + " refused to start: " + e.what(), e.facts());
  } catch (const Error& e) {
    throw Error(e.code(), where + " cannot be used: " + e.what());
  }
}

void Library::read_description(const nemo_plugin* description, const ProbeResult& probe, nemo_host* host) {
  constexpr uint64_t kMaxComponents = 4096;
  if (description == nullptr) refuse("its entry function returned neither an error nor a description");
  const auto plugin = copy_struct<nemo_plugin>(description, "nemo_plugin");
  if (plugin.abi_minor > NEMO_ABI_MINOR)
    refuse("it wants to speak ABI 1." + std::to_string(plugin.abi_minor) + ", this host serves up to 1." + std::to_string(NEMO_ABI_MINOR));
  if (plugin.sdk_build != probe.sdk_build)
    refuse("it says SDK build " + std::to_string(plugin.sdk_build) + ", its .nemo_plugin record says " + std::to_string(probe.sdk_build));
  if (plugin.n_components == 0 || plugin.components == nullptr || plugin.n_components > kMaxComponents)
    refuse("it describes " + std::to_string(plugin.n_components) + " components");
  if (plugin.component_stride < sizeof(nemo_component))
    refuse("component_stride is " + std::to_string(plugin.component_stride) + ", smaller than a nemo_component of " +
           std::to_string(sizeof(nemo_component)));

  std::vector<ComponentName> names;
  for (uint64_t i = 0; i < plugin.n_components; ++i) {
    const char* element = reinterpret_cast<const char*>(plugin.components) + i * plugin.component_stride;
    const auto raw = copy_struct<nemo_component>(element, "nemo_component");
    if (raw.struct_size > plugin.component_stride) refuse("nemo_component is larger than component_stride");
    components_.push_back(std::make_unique<Component>(raw, path_, host));
    names.push_back({components_.back()->kind, components_.back()->id});
  }
  check_equal_to_record(std::move(names), probe.components);
  shutdown_ = plugin.shutdown;
}

void Library::shutdown() {
  if (auto* function = std::exchange(shutdown_, nullptr)) check(function());
}

}  // namespace nemo::plugin

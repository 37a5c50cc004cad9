#include "core/plugin/probe.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/plugin/elf.hpp"

namespace nemo::plugin {
namespace {

[[noreturn]] void refuse(const std::string& reason) { throw Error(Code::kUnsupported, reason); }

std::string version(int major, int minor) { return std::to_string(major) + "." + std::to_string(minor); }

void check_version(const ProbeResult& p) {
  if (p.abi_major != NEMO_ABI_MAJOR)
    refuse("built for SDK " + version(p.abi_major, p.abi_minor) + ", this host serves " + std::to_string(NEMO_ABI_MAJOR) +
           ".x; rebuild it with this host's SDK");
  if ((p.draft || NEMO_ABI_DRAFT) && p.sdk_build != NEMO_SDK_BUILD)
    refuse("built with SDK build " + std::to_string(p.sdk_build) + ", this host has build " + std::to_string(NEMO_SDK_BUILD) +
           ", and a draft ABI needs the same build on both sides; rebuild it with this host's SDK");
}

// "a, b, c and 4 more"
std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

void check_exports(const std::vector<ElfSymbol>& symbols) {
  bool has_entry = false;
  std::vector<std::string> foreign, unique;
  for (const ElfSymbol& s : symbols) {
    has_entry |= s.name == NEMO_PLUGIN_ENTRY_NAME;
    if (s.unique)
      unique.push_back(s.name);
    else if (!s.name.starts_with("nemo_plugin_entry_v"))
      foreign.push_back(s.name);
  }
  std::sort(foreign.begin(), foreign.end());
  std::sort(unique.begin(), unique.end());
  if (!has_entry) refuse("entry function " NEMO_PLUGIN_ENTRY_NAME " is not exported; build it with nemo_add_plugin()");
  if (!unique.empty())
    refuse("exports unique symbols, which all libraries of a process share: " + some_of(unique) + "; build it with nemo_add_plugin()");
  if (!foreign.empty()) refuse("exports symbols besides nemo_plugin_entry_v*: " + some_of(foreign) + "; build it with nemo_add_plugin()");
}

void read_record(const ElfFile& elf, ProbeResult& p) {
  const auto bytes = elf.has_sections() && has_record_section(p.path) ? elf.section(".nemo_plugin") : std::nullopt;
  if (!bytes) refuse("no nemo plugin: it has no .nemo_plugin record");
  Record record = parse_record(*bytes);
  p.abi_major = record.abi_major;
  p.abi_minor = record.abi_minor;
  p.sdk_build = record.sdk_build;
  p.draft = record.draft;
  p.components = std::move(record.components);
}

}  // namespace

ProbeResult probe(const std::filesystem::path& path) {
  ProbeResult p;
  p.path = path;
  try {
    const ElfFile elf(path);
    read_record(elf, p);
    p.needed = elf.needed();
    check_version(p);
    check_exports(elf.exports());
    p.ok = true;
  } catch (const std::exception& e) {
    p.reason = e.what();
  }
  return p;
}

}  // namespace nemo::plugin

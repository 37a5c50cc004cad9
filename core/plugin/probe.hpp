// core/plugin/probe.hpp - may this file be loaded as a plugin, and what does it offer? Answered from its bytes; none of its code runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/plugin/record.hpp"

namespace nemo::plugin {

struct ProbeResult {
  std::filesystem::path path;
  bool ok = false;
  std::string reason;  // why refused, a plain phrase without the path; empty if ok
  // From the record; zero or empty where the file was refused before it could be read.
  int abi_major = 0;
  int abi_minor = 0;
  uint32_t sdk_build = 0;
  bool draft = false;
  std::vector<ComponentName> components;
  std::vector<std::string> needed;  // libraries that the dynamic loader will look for (DT_NEEDED)
};

// Never throws for any file content. Checks, in this order: readable, ELF, machine, shared object, record, ABI major, draft build, entry
// function, no export besides it, no unique symbol.
[[nodiscard]] ProbeResult probe(const std::filesystem::path& path);

// Whether a file that ElfFile accepted, and that has sections, has `.nemo_plugin`; by Boost.DLL, which would read astray in other files.
[[nodiscard]] bool has_record_section(const std::filesystem::path& path);

}  // namespace nemo::plugin

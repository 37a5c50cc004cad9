// The only file that includes Boost.DLL's library_info.
//
// Of library_info only the section names are used. Its symbols() is not: in Boost 1.74 (Debian 12, Ubuntu 22.04) it takes names from the
// last string table of the file, which is that of the sections, and finds right names only where stale vector memory still holds them;
// for a stripped library it finds none. Exports are read by ElfFile from .dynsym.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <boost/dll/library_info.hpp>

#include "core/plugin/probe.hpp"

namespace nemo::plugin {

bool has_record_section(const std::filesystem::path& path) {
  for (const std::string& name : boost::dll::library_info(path).sections())
    if (name == ".nemo_plugin") return true;
  return false;
}

}  // namespace nemo::plugin

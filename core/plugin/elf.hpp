// core/plugin/elf.hpp - reads the few facts of an ELF64 shared library that decide whether it may be loaded. Runs no code of the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace nemo::plugin {

struct ElfSymbol {
  std::string name;
  bool unique = false;  // STB_GNU_UNIQUE: shared between all libraries of the process even under RTLD_LOCAL
};

// One open file. Every offset is checked against the file's size before it is read, so any bytes are safe input. Faults are
// nemo::Error (kNotFound: cannot be read; kUnsupported: another machine or file type; kDataLoss: damaged), whose message is a plain
// phrase without the path. [one thread per object]
class ElfFile {
 public:
  // Checks identification, machine, type and section table.
  explicit ElfFile(const std::filesystem::path& path);
  ~ElfFile();
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  [[nodiscard]] bool has_sections() const { return !sections_.empty(); }
  // Bytes of the first section of that name; nullopt if there is none.
  [[nodiscard]] std::optional<std::string> section(std::string_view name) const;
  // Defined, non-local, visible symbols of .dynsym: what other libraries of the process could bind to.
  [[nodiscard]] std::vector<ElfSymbol> exports() const;
  // DT_NEEDED names in order.
  [[nodiscard]] std::vector<std::string> needed() const;

 private:
  struct Section {
    std::string name;
    uint32_t type;
    uint32_t link;
    uint64_t offset;
    uint64_t size;
  };
  [[nodiscard]] std::string read(uint64_t offset, uint64_t size, std::string_view what) const;
  template <class T>
  [[nodiscard]] std::vector<T> table(uint64_t offset, uint64_t size, std::string_view what) const;
  void check_identification() const;
  void read_sections();
  [[nodiscard]] const Section* first_of_type(uint32_t type) const;
  [[nodiscard]] std::string linked_strings(const Section& section) const;
  [[nodiscard]] bool is_executable() const;

  int fd_ = -1;
  uint64_t size_ = 0;
  std::vector<Section> sections_;
};

}  // namespace nemo::plugin

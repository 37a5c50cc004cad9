#include "core/plugin/elf.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace nemo::plugin {
namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
#error "name this machine's ELF code here"
#endif
// Longest table that a plugin can sensibly have; bounds what a damaged file can make us allocate.
constexpr uint64_t kMaxTable = uint64_t{256} << 20;

std::string machine_name(uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "aarch64";
    case EM_386:
      return "i386";
    case EM_ARM:
      return "arm";
    case EM_PPC64:
      return "ppc64";
    case EM_RISCV:
      return "riscv";
    default:
      return "ELF machine " + std::to_string(machine);
  }
}

[[noreturn]] void damaged(const std::string& detail) { throw Error(Code::kDataLoss, "truncated or damaged ELF file: " + detail); }

std::string text_at(const std::string& strings, uint64_t offset) {
  if (offset >= strings.size()) damaged("a name lies outside its string table");
  return std::string(strings.c_str() + offset);
}

}  // namespace

ElfFile::ElfFile(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat status {};
  if (fd_ < 0 || ::fstat(fd_, &status) != 0) {
    const std::string reason = std::strerror(errno);
    if (fd_ >= 0) ::close(fd_);
    throw Error(Code::kNotFound, "cannot be read: " + reason);
  }
  size_ = static_cast<uint64_t>(status.st_size);
  try {
    if (!S_ISREG(status.st_mode)) throw Error(Code::kNotFound, "cannot be read: not a regular file");
    check_identification();
    read_sections();
    if (is_executable()) throw Error(Code::kUnsupported, "not a shared object but an executable");
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

ElfFile::~ElfFile() { ::close(fd_); }

std::string ElfFile::read(uint64_t offset, uint64_t size, std::string_view what) const {
  const std::string name(what);
  if (offset > size_ || size > size_ - offset) damaged(name + " ends beyond the file's " + std::to_string(size_) + " bytes");
  if (size > kMaxTable) damaged(name + " claims " + std::to_string(size) + " bytes");
  std::string bytes(size, '\0');
  for (uint64_t done = 0; done < size;) {
    const ssize_t n = ::pread(fd_, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(Code::kNotFound, std::string("cannot be read: ") + std::strerror(errno));
    if (n == 0) damaged(name + " ends beyond the file");
    done += static_cast<uint64_t>(n);
  }
  return bytes;
}

template <class T>
std::vector<T> ElfFile::table(uint64_t offset, uint64_t size, std::string_view what) const {
  if (size % sizeof(T) != 0) damaged(std::string(what) + " is not a whole number of entries");
  const std::string bytes = read(offset, size, what);
  std::vector<T> entries(size / sizeof(T));
  if (!entries.empty()) std::memcpy(entries.data(), bytes.data(), size);
  return entries;
}

// The identification is judged byte by byte before the 64-byte header is asked for, so that a 32-bit file is called that.
void ElfFile::check_identification() const {
  const std::string ident = read(0, std::min<uint64_t>(size_, EI_NIDENT), "the identification");
  if (ident.size() < SELFMAG || ident.compare(0, SELFMAG, ELFMAG) != 0)
    throw Error(Code::kUnsupported, size_ == 0 ? "not an ELF file: it is empty" : "not an ELF file");
  if (ident.size() < EI_NIDENT) damaged("the identification ends after " + std::to_string(ident.size()) + " bytes");
  if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB)
    throw Error(Code::kUnsupported, "wrong machine: a " + std::string(ident[EI_CLASS] == ELFCLASS32 ? "32-bit" : "big-endian") +
                                        " ELF file, this host is 64-bit " + machine_name(kMachine));
}

void ElfFile::read_sections() {
  const auto header = table<Elf64_Ehdr>(0, sizeof(Elf64_Ehdr), "the header").front();
  if (header.e_machine != kMachine)
    throw Error(Code::kUnsupported,
                "wrong machine: built for " + machine_name(header.e_machine) + ", this host is " + machine_name(kMachine));
  if (header.e_type != ET_DYN)
    throw Error(Code::kUnsupported, header.e_type == ET_EXEC  ? "not a shared object but an executable"
                                    : header.e_type == ET_REL ? "not a shared object but a relocatable object file"
                                                              : "not a shared object");
  if (header.e_shnum == 0) return;
  if (header.e_shentsize != sizeof(Elf64_Shdr)) damaged("section headers have an unknown size");
  const auto raw = table<Elf64_Shdr>(header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr), "the section table");
  if (header.e_shstrndx >= raw.size()) damaged("the section of section names does not exist");
  const std::string names = read(raw[header.e_shstrndx].sh_offset, raw[header.e_shstrndx].sh_size, "the table of section names");
  if (names.empty() || names.back() != '\0') damaged("the table of section names is not terminated");
  for (const Elf64_Shdr& s : raw) sections_.push_back({text_at(names, s.sh_name), s.sh_type, s.sh_link, s.sh_offset, s.sh_size});
}

std::optional<std::string> ElfFile::section(std::string_view name) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(), [&](const Section& s) { return s.name == name; });
  if (found == sections_.end() || found->type == SHT_NOBITS) return std::nullopt;
  return read(found->offset, found->size, "section " + found->name);
}

const ElfFile::Section* ElfFile::first_of_type(uint32_t type) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(), [&](const Section& s) { return s.type == type; });
  return found == sections_.end() ? nullptr : &*found;
}

std::string ElfFile::linked_strings(const Section& section) const {
  if (section.link >= sections_.size()) damaged("section " + section.name + " has no string table");
  const Section& strings = sections_[section.link];
  std::string bytes = read(strings.offset, strings.size, "section " + strings.name);
  if (bytes.empty() || bytes.back() != '\0') damaged("string table " + strings.name + " is not terminated");
  return bytes;
}

std::vector<ElfSymbol> ElfFile::exports() const {
  const Section* dynsym = first_of_type(SHT_DYNSYM);
  if (dynsym == nullptr) return {};
  const std::string strings = linked_strings(*dynsym);
  std::vector<ElfSymbol> out;
  for (const Elf64_Sym& s : table<Elf64_Sym>(dynsym->offset, dynsym->size, "the dynamic symbol table")) {
    const unsigned binding = ELF64_ST_BIND(s.st_info);
    const unsigned visibility = ELF64_ST_VISIBILITY(s.st_other);
    if (binding == STB_LOCAL || s.st_shndx == SHN_UNDEF || visibility == STV_HIDDEN || visibility == STV_INTERNAL) continue;
    out.push_back({text_at(strings, s.st_name), binding == STB_GNU_UNIQUE});
  }
  return out;
}

std::vector<std::string> ElfFile::needed() const {
  const Section* dynamic = first_of_type(SHT_DYNAMIC);
  if (dynamic == nullptr) return {};
  const std::string strings = linked_strings(*dynamic);
  std::vector<std::string> out;
  for (const Elf64_Dyn& d : table<Elf64_Dyn>(dynamic->offset, dynamic->size, "the dynamic section")) {
    if (d.d_tag == DT_NULL) break;
    if (d.d_tag == DT_NEEDED) out.push_back(text_at(strings, d.d_un.d_val));
  }
  return out;
}

// Position-independent executables are ET_DYN too; the linker marks them.
bool ElfFile::is_executable() const {
  const Section* dynamic = first_of_type(SHT_DYNAMIC);
  if (dynamic == nullptr) return false;
  for (const Elf64_Dyn& d : table<Elf64_Dyn>(dynamic->offset, dynamic->size, "the dynamic section"))
    if (d.d_tag == DT_FLAGS_1) return (d.d_un.d_val & DF_1_PIE) != 0;
  return false;
}

}  // namespace nemo::plugin

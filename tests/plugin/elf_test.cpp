#include "core/plugin/elf.hpp"

#include <gmock/gmock.h>

#include "core/base/error.hpp"
#include "core/plugin/probe.hpp"
#include "fixture_files.hpp"

namespace nemo::plugin {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(elf, reads_the_bytes_of_a_section) {
  const std::string expected = std::string("NEMO1\0", 6) + "1" + '\0' + "0" + '\0' + std::to_string(NEMO_SDK_BUILD) + '\0' + "1" + '\0' +
                               "model:tiny" + '\0' + "logger:tiny_log" + '\0' + '\0';
  EXPECT_EQ(ElfFile(fixture("good")).section(".nemo_plugin"), expected);
  EXPECT_EQ(ElfFile(fixture("good")).section(".absent"), std::nullopt);
}

TEST(elf, lists_what_a_library_exports_and_needs) {
  const ElfFile elf(fixture("good"));
  const auto symbols = elf.exports();
  ASSERT_EQ(symbols.size(), 1u);
  EXPECT_EQ(symbols[0].name, "nemo_plugin_entry_v1");
  EXPECT_FALSE(symbols[0].unique);
  EXPECT_THAT(elf.needed(), Contains(HasSubstr("libc.so")));
}

TEST(elf, boost_and_the_reader_agree_on_the_record_section) {
  EXPECT_TRUE(has_record_section(fixture("good")));
  EXPECT_FALSE(has_record_section(fixture("no_record")));
}

// Any bytes are safe input: what is cut or damaged anywhere is refused or read, but never crashes (the sanitizer build proves the reads).
TEST(elf, a_library_cut_anywhere_is_refused) {
  const Folder folder;
  const std::string whole = bytes_of(fixture("good"));
  for (size_t size = 0; size + 64 < whole.size(); size += 131) {
    const ProbeResult p = probe(folder.write("cut.so", std::string_view(whole).substr(0, size)));
    EXPECT_FALSE(p.ok) << size;
    EXPECT_FALSE(p.reason.empty()) << size;
  }
}

TEST(elf, damaged_tables_never_crash_the_probe) {
  const Folder folder;
  const std::string whole = bytes_of(fixture("good"));
  const size_t tables = whole.size() - 40 * 64;  // the section table is at the end
  for (size_t at = 0; at < whole.size(); at += at < 64 ? 1 : at > tables ? 5 : 97) {
    for (const char value : {'\0', '\xff'}) {
      std::string bytes = whole;
      bytes[at] = value;
      const ProbeResult p = probe(folder.write("damaged.so", bytes));
      EXPECT_EQ(p.ok, p.reason.empty()) << at;
    }
  }
}

}  // namespace
}  // namespace nemo::plugin

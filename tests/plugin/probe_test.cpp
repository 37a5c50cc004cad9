#include "core/plugin/probe.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>

#include "core/base/error.hpp"
#include "fixture_files.hpp"

namespace nemo::plugin {
namespace {

using testing::ElementsAre;

std::string refusal(const std::filesystem::path& path) {
  const ProbeResult p = probe(path);
  EXPECT_FALSE(p.ok) << path;
  EXPECT_EQ(p.path, path);
  return p.reason;
}

std::string build() { return std::to_string(NEMO_SDK_BUILD); }

TEST(probe, accepts_a_plugin_and_reads_what_it_offers_without_running_it) {
  ::unsetenv("NEMO_FIXTURE_CODE_RAN");
  const ProbeResult p = probe(fixture("good"));
  EXPECT_TRUE(p.ok) << p.reason;
  EXPECT_EQ(p.reason, "");
  EXPECT_EQ(p.abi_major, NEMO_ABI_MAJOR);
  EXPECT_EQ(p.abi_minor, NEMO_ABI_MINOR);
  EXPECT_EQ(p.sdk_build, uint32_t{NEMO_SDK_BUILD});
  EXPECT_EQ(p.draft, NEMO_ABI_DRAFT == 1);
  EXPECT_THAT(p.components, ElementsAre(ComponentName{NEMO_KIND_MODEL, "tiny"}, ComponentName{NEMO_KIND_LOGGER, "tiny_log"}));
  EXPECT_EQ(std::getenv("NEMO_FIXTURE_CODE_RAN"), nullptr);
}

TEST(probe, accepts_a_stripped_plugin) {
  const Folder folder;
  const auto copy = folder.copy("good");
  ASSERT_EQ(std::system(("strip " + copy.string()).c_str()), 0);
  const ProbeResult p = probe(copy);
  EXPECT_TRUE(p.ok) << p.reason;
}

TEST(probe, refuses_what_cannot_be_read) {
  const Folder folder;
  EXPECT_EQ(refusal(folder.path() / "absent.so"), "cannot be read: No such file or directory");
  std::filesystem::create_directory(folder.path() / "folder.so");
  EXPECT_EQ(refusal(folder.path() / "folder.so"), "cannot be read: not a regular file");
  ASSERT_EQ(::mkfifo((folder.path() / "pipe.so").c_str(), 0600), 0);
  EXPECT_EQ(refusal(folder.path() / "pipe.so"), "cannot be read: not a regular file");
}

TEST(probe, refuses_what_is_not_elf) {
  const Folder folder;
  EXPECT_EQ(refusal(folder.write("text.so", "this is no library\n")), "not an ELF file");
  EXPECT_EQ(refusal(folder.write("empty.so", "")), "not an ELF file: it is empty");
}

TEST(probe, refuses_a_truncated_file) {
  const Folder folder;
  const std::string whole = bytes_of(fixture("good"));
  EXPECT_EQ(refusal(folder.write("a.so", whole.substr(0, 10))), "truncated or damaged ELF file: the identification ends after 10 bytes");
  EXPECT_EQ(refusal(folder.write("b.so", whole.substr(0, 40))),
            "truncated or damaged ELF file: the header ends beyond the file's 40 bytes");
  EXPECT_EQ(refusal(folder.write("c.so", whole.substr(0, 1000))),
            "truncated or damaged ELF file: the section table ends beyond the file's 1000 bytes");
}

TEST(probe, refuses_another_machine) {
  const Folder folder;
  std::string header = bytes_of(fixture("good")).substr(0, 52);
  header[4] = 1;  // ELFCLASS32
  EXPECT_THAT(refusal(folder.write("narrow.so", header)), testing::StartsWith("wrong machine: a 32-bit ELF file, this host is 64-bit "));
  std::string foreign = bytes_of(fixture("good"));
  foreign[18] = 21, foreign[19] = 0;  // EM_PPC64
  EXPECT_THAT(refusal(folder.write("foreign.so", foreign)), testing::StartsWith("wrong machine: built for ppc64, this host is "));
}

TEST(probe, refuses_what_is_no_shared_object) {
  const Folder folder;
  std::string object = bytes_of(fixture("good"));
  object[16] = 1;  // ET_REL
  EXPECT_EQ(refusal(folder.write("object.so", object)), "not a shared object but a relocatable object file");
  object[16] = 2;  // ET_EXEC
  EXPECT_EQ(refusal(folder.write("program.so", object)), "not a shared object but an executable");
  EXPECT_EQ(refusal(std::filesystem::canonical("/proc/self/exe")), "not a shared object but an executable");
}

TEST(probe, refuses_a_library_without_a_record) {
  EXPECT_EQ(refusal(fixture("no_record")), "no nemo plugin: it has no .nemo_plugin record");
}

TEST(probe, refuses_a_record_that_is_cut) {
  EXPECT_EQ(refusal(fixture("cut_record")), "malformed .nemo_plugin record: it ends inside the SDK build");
}

TEST(probe, refuses_another_abi_major) {
  EXPECT_EQ(refusal(fixture("wrong_major")), "built for SDK 2.3, this host serves 1.x; rebuild it with this host's SDK");
}

TEST(probe, refuses_another_build_while_the_abi_is_a_draft) {
  EXPECT_EQ(refusal(fixture("wrong_build")), "built with SDK build 20200101, this host has build " + build() +
                                                 ", and a draft ABI needs the same build on both sides; rebuild it with this host's SDK");
  EXPECT_THAT(probe(fixture("wrong_build")).components, ElementsAre(ComponentName{NEMO_KIND_MODEL, "tiny"}));
}

TEST(probe, refuses_a_library_without_the_entry_function) {
  EXPECT_EQ(refusal(fixture("no_entry")), "entry function nemo_plugin_entry_v1 is not exported; build it with nemo_add_plugin()");
}

TEST(probe, refuses_exports_besides_the_entry) {
  EXPECT_EQ(refusal(fixture("exports_more")),
            "exports symbols besides nemo_plugin_entry_v*: fixture_extra; build it with nemo_add_plugin()");
}

TEST(probe, refuses_unique_symbols) {
  EXPECT_EQ(
      refusal(fixture("unique")),
      "exports unique symbols, which all libraries of a process share: _ZZ14shared_countervE7counter; build it with nemo_add_plugin()");
}

std::string fault_of(std::string_view record) {
  try {
    (void)parse_record(record);
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kDataLoss);
    return e.what();
  }
}

template <size_t N>
std::string_view literal(const char (&text)[N]) {
  return {text, N};
}

TEST(record, says_what_is_malformed) {
  const std::string start = "malformed .nemo_plugin record: ";
  EXPECT_EQ(fault_of(""), start + "it ends inside the magic word");
  EXPECT_EQ(fault_of(literal("OTHER")), start + "it does not start with NEMO1");
  EXPECT_EQ(fault_of(literal("NEMO1\0one")), start + "the ABI major is not a number");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "-2")),
            start + "the ABI minor is not a number");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "0\0"
                             "7\0"
                             "0\0")),
            start + "it names no component");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "0\0"
                             "7\0"
                             "0\0"
                             "model:a")),
            start + "it ends inside the component list");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "0\0"
                             "7\0"
                             "0\0"
                             "llama\0")),
            start + "a component is not of the form kind:id");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "0\0"
                             "7\0"
                             "0\0"
                             "robot:a\0")),
            start + "component kind \"robot\" is not one that this host knows");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "0\0"
                             "7\0"
                             "0\0"
                             "model:a\0model:a\0")),
            start + "it names model:a twice");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "0\0"
                             "7\0"
                             "0\0"
                             "model:a b\0")),
            start + "a component's kind or id has characters besides letters, digits, '_', '-' and '.'");
  EXPECT_EQ(fault_of(literal("NEMO1\0"
                             "1\0"
                             "0\0"
                             "7\0"
                             "0\0"
                             "model:a\0\0NEMO1\0")),
            start + "text follows its end (two NEMO_PLUGIN or NEMO_RECORD in one library?)");
}

}  // namespace
}  // namespace nemo::plugin

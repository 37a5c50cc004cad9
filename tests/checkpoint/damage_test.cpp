#include <signal.h>
#include <sys/wait.h>

#include <fstream>

#include "tests/checkpoint/sample.hpp"

namespace nemo::checkpoint {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

void flip_byte(const fs::path& path, uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const char byte = static_cast<char>(file.get() ^ 0x10);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

void edit(const fs::path& path, const std::string& from, const std::string& to) {
  std::string text = read_file(path);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  write_file(path, text.replace(at, from.size(), to));
}

class Damaged : public testing::Test {
 protected:
  Damaged() { write_sample(path_, 200, {{"val_loss", 1.5}}); }
  Error error() const {
    return error_of([&] { Reader reader(path_); });
  }
  TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "step_00000200";
};

TEST_F(Damaged, truncated_file_is_named_with_both_sizes) {
  const uint64_t bytes = fs::file_size(path_ / kTensorFile);
  fs::resize_file(path_ / kTensorFile, bytes - 1);
  EXPECT_EQ(error().code(), Code::kDataLoss);
  EXPECT_THAT(error().what(), AllOf(HasSubstr((path_ / kTensorFile).string()), HasSubstr("truncated"), HasSubstr(std::to_string(bytes - 1)),
                                    HasSubstr(std::to_string(bytes))));
}

TEST_F(Damaged, any_flipped_byte_is_found) {
  for (const char* name : {kTensorFile, kRecipeFile, kManifestFile}) {
    const uint64_t bytes = fs::file_size(path_ / name);
    for (uint64_t offset = 0; offset < bytes; offset += 1 + bytes / 23) {
      if (name == std::string(kManifestFile) && std::isspace(read_file(path_ / name)[offset])) continue;  // layout of the JSON text
      flip_byte(path_ / name, offset);
      const Error e = error();
      EXPECT_TRUE(e.code() == Code::kDataLoss || e.code() == Code::kUnsupported) << name << " at " << offset;
      EXPECT_THAT(e.what(), HasSubstr(std::string("step_00000200/") + (name == std::string(kManifestFile) ? "" : name))) << offset;
      flip_byte(path_ / name, offset);
    }
  }
  EXPECT_EQ(Reader(path_).facts().step, 200);
}

TEST_F(Damaged, flipped_byte_is_left_to_the_full_check) {
  flip_byte(path_ / kRecipeFile, 3);
  EXPECT_NO_THROW(Reader(path_, Verify::kSizes));
}

TEST_F(Damaged, missing_manifest_means_incomplete) {
  fs::remove(path_ / kManifestFile);
  EXPECT_EQ(error().code(), Code::kDataLoss);
  EXPECT_THAT(error().what(), AllOf(HasSubstr((path_ / kManifestFile).string()), HasSubstr("incomplete")));
}

TEST_F(Damaged, missing_file_is_named) {
  fs::remove(path_ / kRecipeFile);
  EXPECT_THAT(error().what(), AllOf(HasSubstr((path_ / kRecipeFile).string()), HasSubstr("missing")));
}

TEST_F(Damaged, unknown_format_version_is_refused_with_both_versions) {
  edit(path_ / kManifestFile, "\"format_version\": 1", "\"format_version\": 7");
  EXPECT_EQ(error().code(), Code::kUnsupported);
  EXPECT_THAT(error().what(), AllOf(HasSubstr("version 7"), HasSubstr("reads version 1")));
}

TEST_F(Damaged, edited_manifest_is_found) {
  edit(path_ / kManifestFile, "1.5", "1.4");
  EXPECT_THAT(error().what(), AllOf(HasSubstr("manifest.json is damaged"), HasSubstr("checksum")));
}

TEST_F(Damaged, folder_that_does_not_exist_is_not_found) {
  EXPECT_EQ(error_of([&] { Reader reader(folder_.path() / "none"); }).code(), Code::kNotFound);
}

TEST(killed_save, leaves_nothing_visible_and_the_next_save_cleans_up) {
  const TemporaryFolder folder;
  const Store store(folder.path());
  write_sample(store.path_of(100), 100);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::vector<float> data = ramp(1 << 16);
    Writer writer(store.path_of(200));
    writer.write(kParameters, {"w", NEMO_DTYPE_F32, {1 << 16}, data.data()});
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  const std::string leftover = "step_00000200.partial-" + std::to_string(child);
  EXPECT_THAT(listing(folder.path()), ElementsAre("step_00000100", leftover));
  EXPECT_EQ(store.list().size(), 1u);
  EXPECT_EQ(store.latest_good()->step, 100);
  write_sample(store.path_of(300), 300);
  EXPECT_THAT(listing(folder.path()), ElementsAre("step_00000100", "step_00000300"));
}

TEST(killed_save, of_an_earlier_process_with_the_same_pid_is_cleaned_up_too) {
  const TemporaryFolder folder;
  const Store store(folder.path());
  fs::create_directory(store.path_of(100).string() + ".partial-" + std::to_string(::getpid()));
  write_sample(store.path_of(100), 100);
  EXPECT_THAT(listing(folder.path()), ElementsAre("step_00000100"));
}

TEST(killed_removal, is_finished_by_the_next_save) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path() / "step_00000050.deleting-17" / "tokenizer");
  write_sample(Store(folder.path()).path_of(100), 100);
  EXPECT_THAT(listing(folder.path()), ElementsAre("step_00000100"));
}

TEST(unfinished_save, of_a_live_writer_is_left_alone) {
  const TemporaryFolder folder;
  const Store store(folder.path());
  const float one = 1;
  Writer slow(store.path_of(100));
  slow.write(kParameters, {"w", NEMO_DTYPE_F32, {1}, &one});
  write_sample(store.path_of(200), 200);
  slow.commit({100, {}, {}});
  EXPECT_EQ(store.list().size(), 2u);
  EXPECT_NO_THROW(Reader(store.path_of(100)));
}

TEST(unfinished_save, is_removed_when_its_writer_goes) {
  const TemporaryFolder folder;
  { const Writer writer(folder.path() / "a"); }
  EXPECT_THAT(listing(folder.path()), ElementsAre());
}

}  // namespace
}  // namespace nemo::checkpoint

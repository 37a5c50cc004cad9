#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cstring>

#include "tests/checkpoint/sample.hpp"

namespace nemo::checkpoint {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// A file system of 4 MiB; mounting takes root.
class FullDisk : public testing::Test {
 protected:
  void SetUp() override {
    if (::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=4m") != 0)
      GTEST_SKIP() << "cannot mount a tmpfs: " << std::strerror(errno);
    mounted_ = true;
    write_sample(store_.path_of(100), 100);
  }
  void TearDown() override {
    if (mounted_) ::umount2(folder_.path().c_str(), MNT_DETACH);
  }
  void expect_previous_intact() {
    EXPECT_THAT(listing(folder_.path()), ElementsAre("step_00000100"));
    EXPECT_EQ(Reader(store_.path_of(100)).attribute_int("step"), 100);
  }
  void expect_saving_works_again() {
    write_sample(store_.path_of(200), 200);
    EXPECT_EQ(store_.latest_good()->step, 200);
  }
  TemporaryFolder folder_;
  Store store_{folder_.path()};
  bool mounted_ = false;
};

TEST_F(FullDisk, while_writing_tensors_leaves_the_previous_checkpoint) {
  const std::vector<float> big = ramp(3 << 18);  // 3 MiB
  Writer writer(store_.path_of(200));
  writer.write(kParameters, {"first", NEMO_DTYPE_F32, {3 << 18}, big.data()});
  const Error e = error_of([&] { writer.write(kParameters, {"second", NEMO_DTYPE_F32, {3 << 18}, big.data()}); });
  EXPECT_THAT(e.what(), AllOf(HasSubstr(store_.path_of(200).string()), HasSubstr("parameters/second"), HasSubstr("No space left"),
                              HasSubstr("at least 6291456 bytes"), HasSubstr("bytes are free")));
  EXPECT_EQ(error_of([&] { writer.commit({}); }).code(), Code::kInvalidArgument);
  expect_previous_intact();
  expect_saving_works_again();
}

TEST_F(FullDisk, while_flushing_hdf5_itself_leaves_the_previous_checkpoint) {
  const std::string text(1 << 20, 'x');
  const Error e = error_of([&] {
    Writer writer(store_.path_of(200));
    for (int i = 0; i < 6; ++i) writer.attribute("text" + std::to_string(i), text);
    writer.commit({});
  });
  EXPECT_THAT(e.what(), AllOf(HasSubstr(store_.path_of(200).string()), HasSubstr("No space left")));
  expect_previous_intact();
  expect_saving_works_again();
}

TEST_F(FullDisk, while_adding_a_file_leaves_the_previous_checkpoint) {
  const Error e = error_of([&] {
    Writer writer(store_.path_of(200));
    writer.add_text_file("tokenizer/vocab.json", std::string(5 << 20, ' '));
  });
  EXPECT_THAT(e.what(), AllOf(HasSubstr("tokenizer/vocab.json"), HasSubstr("No space left")));
  expect_previous_intact();
}

TEST_F(FullDisk, is_foreseen_when_the_size_is_given) {
  const Error e = error_of([&] { Writer writer(store_.path_of(200), 5 << 20); });
  EXPECT_THAT(e.what(), AllOf(HasSubstr("at least 5242880 bytes"), HasSubstr("bytes are free")));
  expect_previous_intact();
}

TEST(file_size_limit, leaves_the_previous_checkpoint) {
  const TemporaryFolder folder;
  const Store store(folder.path());
  write_sample(store.path_of(100), 100);
  const auto previous = ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{2 << 20, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::vector<float> big = ramp(3 << 18);
  const Error e = error_of([&] {
    Writer writer(store.path_of(200));
    writer.write(kParameters, {"w", NEMO_DTYPE_F32, {3 << 18}, big.data()});
  });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  ::signal(SIGXFSZ, previous);
  EXPECT_THAT(e.what(), AllOf(HasSubstr(store.path_of(200).string()), HasSubstr("File too large"), HasSubstr("2097152 bytes a file")));
  EXPECT_THAT(listing(folder.path()), ElementsAre("step_00000100"));
  EXPECT_NO_THROW(Reader(store.path_of(100)));
}

TEST(folder_without_permission, is_named) {
  const Error e = error_of([] { Writer writer("/proc/nemo/step_00000001"); });
  EXPECT_THAT(e.what(), HasSubstr("/proc/nemo/step_00000001"));
}

}  // namespace
}  // namespace nemo::checkpoint
